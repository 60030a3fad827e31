"""The few types of Kubernetes' own API that stand in an EventFederation."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from eventfed.spec import Spec, refused_unless, worded

__all__ = [
    "LABEL_ADVICE",
    "LABEL_NAME",
    "LABEL_PATTERN",
    "LabelSelector",
    "LabelSelectorRequirement",
    "LabelValue",
    "ObjectName",
    "Quantity",
    "Resources",
    "Toleration",
]

# k8s.io/apimachinery/pkg/api/resource: the pattern that its own generator writes for a quantity, but for the sign.
_QUANTITY, _QUANTITY_RULE = worded(
    "^(([0-9]+([.][0-9]*)?)|([.][0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]+))?$",
    "write an amount such as 100m, 128Mi or 1",
    or_integer=True,
)
_VALUES_OF_OPERATOR = "selector: In and NotIn need values, Exists and DoesNotExist must have none"
_VALUE_OF_TOLERATION = "tolerations: with operator: Exists remove value; with Equal give a key"

_OBJECT_NAME, _OBJECT_NAME_RULE = worded(
    "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    "write the name of an object: a-z, 0-9, '-' and '.', with a letter or digit at both ends",
)

ObjectName = Annotated[str, Field(min_length=1, max_length=253, json_schema_extra=_OBJECT_NAME_RULE), _OBJECT_NAME]
"""The name of an object, as RFC 1123 writes host names."""

LABEL_PATTERN = "^([-.a-z0-9]{1,253}/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
LABEL_ADVICE = "write the name of a label, such as app or example.net/app"
LABEL_NAME, _LABEL_NAME_RULE = worded(LABEL_PATTERN, LABEL_ADVICE)
_LABEL_NAMES_RULE = refused_unless((f"self.all(name, name.matches('{LABEL_PATTERN}'))", LABEL_ADVICE))
_LABEL_VALUE, _LABEL_VALUE_RULE = worded(
    "^([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$",
    "write the value of a label: letters, digits, '-', '_' and '.', with a letter or digit at both ends",
)

LabelName = Annotated[str, Field(min_length=1, max_length=317, json_schema_extra=_LABEL_NAME_RULE), LABEL_NAME]
LabelValue = Annotated[str, Field(max_length=63, json_schema_extra=_LABEL_VALUE_RULE), _LABEL_VALUE]


def _as_text(value: str | int) -> str:
    return str(value)


Quantity = Annotated[
    str | int,
    AfterValidator(_as_text),
    _QUANTITY,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32, **_QUANTITY_RULE}),
]
"""An amount of a resource: ``100m`` of a core, ``128Mi`` of memory."""


class LabelSelectorRequirement(Spec):
    """One condition on a label."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            (
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                _VALUES_OF_OPERATOR,
            )
        )
    )

    key: Annotated[LabelName, Field(description="Name of the label.")]
    operator: Annotated[Literal["In", "NotIn", "Exists", "DoesNotExist"], Field(description="What must hold of it.")]
    values: Annotated[tuple[LabelValue, ...] | None, Field(max_length=64, description="Values for In and NotIn.")] = (
        None
    )

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError(_VALUES_OF_OPERATOR)
        return self

    def holds(self, value: str | None) -> bool:
        """Whether it holds of a label with this value; None where the label is missing."""
        values = self.values or ()
        match self.operator:
            case "In":
                return value in values
            case "NotIn":
                return value not in values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None


class LabelSelector(Spec):
    """Labels that a pod must have; all conditions must hold."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    match_labels: Annotated[
        dict[Annotated[str, LABEL_NAME], LabelValue] | None,
        Field(max_length=32, description="Labels with their values.", json_schema_extra=_LABEL_NAMES_RULE),
    ] = None
    match_expressions: Annotated[
        tuple[LabelSelectorRequirement, ...] | None,
        Field(max_length=16, description="Further conditions on labels."),
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether it selects everything."""
        return not self.match_labels and not self.match_expressions

    @property
    def expression(self) -> str:
        """As the API server's ``labelSelector`` parameter wants it."""
        parts = [f"{key}={value}" for key, value in sorted((self.match_labels or {}).items())]
        for one in self.match_expressions or ():
            values = f"({','.join(one.values or ())})"
            match one.operator:
                case "In":
                    parts.append(f"{one.key} in {values}")
                case "NotIn":
                    parts.append(f"{one.key} notin {values}")
                case "Exists":
                    parts.append(one.key)
                case "DoesNotExist":
                    parts.append(f"!{one.key}")
        return ",".join(parts)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels is meant."""
        return all(labels.get(key) == value for key, value in (self.match_labels or {}).items()) and all(
            one.holds(labels.get(one.key)) for one in self.match_expressions or ()
        )


class Resources(Spec):
    """What a container asks for, and the most it gets."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8, description="What is kept free for it.")] = Field(
        default_factory=dict
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=8, description="The most it gets.")] = Field(
        default_factory=dict
    )


class Toleration(Spec):
    """A taint that a pod bears."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            (
                "self.operator == 'Exists' ? !has(self.value) : has(self.key)",
                _VALUE_OF_TOLERATION,
            )
        )
    )

    key: Annotated[str | None, Field(min_length=1, max_length=317, description="Taint. Absent: every one.")] = None
    operator: Annotated[Literal["Exists", "Equal"], Field(description="Whether the value counts.")] = "Equal"
    value: Annotated[LabelValue | None, Field(description="Value of the taint.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        Field(description="Effect of the taint. Absent: every one."),
    ] = None
    toleration_seconds: Annotated[
        int | None,
        Field(ge=0, json_schema_extra={"format": "int64"}, description="With NoExecute: how long it is borne, s."),
    ] = None

    @model_validator(mode="after")
    def _fits_its_operator(self) -> Self:
        if self.value is not None if self.operator == "Exists" else self.key is None:
            raise ValueError(_VALUE_OF_TOLERATION)
        return self
