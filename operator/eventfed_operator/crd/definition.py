"""The CustomResourceDefinition, from the pydantic models of `eventfed_operator.crd.resource`.

``python -m eventfed_operator.crd.definition > charts/eventfed/files/eventfederations.yaml`` writes it again.
A template of the chart includes it. It does not stand in the chart's ``crds/``, because Helm never upgrades those;
an annotation keeps it on uninstall.
"""

import sys
from typing import Any

import yaml
from pydantic import BaseModel

from eventfed.spec import refused_unless

from .resource import GROUP, KIND, NAME_RULE, PLURAL, SHORT_NAME, VERSION, EventFederationSpec
from .status import EventFederationStatus

__all__ = ["custom_resource_definition", "structural_schema", "written"]

_HEAD = (
    "# Written by `python -m eventfed_operator.crd.definition` "
    "from operator/eventfed_operator/crd/resource.py: change it there.\n"
)
_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)
_LEFT_OUT = frozenset({"title", "$defs", "$ref", "anyOf", "default", "properties", "items", "additionalProperties"})


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> dict[str, Any]:
    """The schema of a model as Kubernetes wants it: without references, alternatives and nulls.

    With `defaults` the API server fills fields in. Absent and empty are the same to us, so nothing empty is filled in.

    Raises:
        ValueError: the model says something that a structural schema cannot.
    """
    document = model.model_json_schema()
    return _structural(document, document.get("$defs", {}), model.__name__, defaults)


def _structural(schema: dict[str, Any], definitions: dict[str, Any], where: str, defaults: bool) -> dict[str, Any]:
    schema = _merged(schema, definitions, where)
    unknown = schema.keys() - set(_KEPT) - _LEFT_OUT
    if unknown:
        raise ValueError(f"{where}: a structural schema has no {', '.join(sorted(unknown))}")
    result = {name: schema[name] for name in _KEPT if name in schema}
    if "properties" in schema:
        result["properties"] = {
            name: _structural(property_, definitions, f"{where}.{name}", defaults)
            for name, property_ in schema["properties"].items()
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(
            schema["additionalProperties"], definitions, f"{where}.*", defaults
        )
    if "items" in schema:
        result["items"] = _structural(schema["items"], definitions, f"{where}[]", defaults)
    if defaults and "default" in schema:
        default = _bare(schema["default"])
        if default not in ([], None, {}):
            result["default"] = default
    return result


def _merged(schema: dict[str, Any], definitions: dict[str, Any], where: str) -> dict[str, Any]:
    """With references and ``anyOf [something, null]`` resolved; what is said nearer to the field counts more."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        schema = _joined(_merged(target, definitions, where), {k: v for k, v in schema.items() if k != "$ref"})
    if "anyOf" in schema:
        alternatives = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if len(alternatives) != 1:
            raise ValueError(f"{where}: a structural schema has no alternatives")
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = _joined(_merged(alternatives[0], definitions, where), rest)
    return schema


def _joined(far: dict[str, Any], near: dict[str, Any]) -> dict[str, Any]:
    rules = [*far.get("x-kubernetes-validations", ()), *near.get("x-kubernetes-validations", ())]
    return {**far, **near, **({"x-kubernetes-validations": rules} if rules else {})}


def _bare(default: Any) -> Any:
    """A default without nulls and what is empty.

    What the defaults of its fields give stays in it: the API server checks a default as it stands, rules included.
    """
    if isinstance(default, dict):
        bare = {name: _bare(value) for name, value in default.items()}
        return {name: value for name, value in bare.items() if value not in (None, [], {})}
    return int(default) if isinstance(default, float) and default.is_integer() else default


def custom_resource_definition() -> dict[str, Any]:
    """The object for the API server (apiextensions.k8s.io/v1)."""
    ready = '.status.conditions[?(@.type=="Ready")]'
    columns = [
        ("Ready", "string", f"{ready}.status", "Whether all is well"),
        ("Members", "string", ".status.members.summary", "Members with all states of the others / all members"),
        ("Agents", "string", ".status.agents.summary", "Ready agents / nodes that should have one"),
        ("Reason", "string", f"{ready}.reason", "Why it is ready or not"),
        ("Age", "date", ".metadata.creationTimestamp", ""),
    ]
    # With `-o wide` alone.
    wide = [
        ("Federation", "string", ".status.federation", "Its name on NATS"),
        ("Messages", "integer", ".status.stream.messages", "Messages in its stream"),
        ("Message", "string", f"{ready}.message", "Why it is ready or not, and what to do"),
    ]
    spec = structural_schema(EventFederationSpec)
    status = structural_schema(EventFederationStatus, defaults=False)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "labels": {"app.kubernetes.io/part-of": "eventfed"},
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["all", "eventfed"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {
                            "name": name,
                            "type": kind,
                            "jsonPath": path,
                            **({"description": what} if what else {}),
                            **({"priority": 1} if more else {}),
                        }
                        for more, some in ((False, columns), (True, wide))
                        for name, kind, path, what in some
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "Makes the selected Asterisk pods behave as one server for voicemail lamps "
                            "and device state.",
                            "required": ["spec"],
                            **refused_unless(NAME_RULE),
                            "properties": {
                                "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
                                "kind": {"type": "string", "description": f"{KIND}."},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def written() -> str:
    """The definition as the text of the chart's file."""
    return _HEAD + yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=110)


if __name__ == "__main__":
    sys.stdout.write(written())
