"""``spec.agent.podTemplate``: what a platform asks of the agents' pods.

Fields have the names and the shape of Kubernetes' own. What is deep in them (affinity, sources of volumes) is given on
as it stands: the API server checks it with the DaemonSet, and a refusal becomes the reason ``ObjectRefused``.
Volumes on the node (``hostPath``) are not among them: who may write EventFederations must not reach nodes by it.
"""

from typing import Annotated, Any, Self, TypeVar

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from eventfed.spec import Spec, refused_unless, worded

from .kubernetes_types import LABEL_ADVICE, LABEL_NAME, LABEL_PATTERN, LabelValue

__all__ = ["AffinitySpec", "EnvironmentVariable", "PodSecuritySpec", "PodTemplateSpec", "VolumeMountSpec", "VolumeSpec"]

_OWN_LABELS = "labels that begin with app.kubernetes.io/ or eventfed.io/ belong to the operator: remove them"
_OWN_ANNOTATIONS = "annotations that begin with eventfed.io/ belong to the operator: remove them"
_OWN_VARIABLES = "variables that begin with EVENTFED_ belong to the operator: remove them"
_OWN_VOLUMES = "configuration and nats are the names of the operator's volumes: choose another name"
_OWN_FOLDERS = "/etc/eventfed and what begins with it belong to the operator: choose another mountPath"
_ONE_VALUE = "env: write either value or valueFrom"
_ONE_SOURCE = (
    "volumes: write one of configMap, secret, emptyDir, projected, downwardAPI, csi, ephemeral, persistentVolumeClaim"
)
_SOURCES = (
    "config_map",
    "secret",
    "empty_dir",
    "projected",
    "downward_api",
    "csi",
    "ephemeral",
    "persistent_volume_claim",
)

_ENVIRONMENT_NAME, _ENVIRONMENT_NAME_RULE = worded(
    "^[A-Za-z_][A-Za-z0-9_]*$", "write the name of a variable: letters, digits and '_'"
)
_VOLUME_NAME, _VOLUME_NAME_RULE = worded(
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "write the name of a volume: a-z, 0-9 and '-'"
)
_MOUNT_PATH, _MOUNT_PATH_RULE = worded("^/[^:]+$", "write an absolute path without ':'")

Free = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""An object of Kubernetes' API that is given on as it stands."""


def _free(description: str) -> Any:
    return Field(description=f"{description} As in a pod.")


class PodSecuritySpec(Spec):
    """``securityContext`` of the pods. It takes the place of the chart's whole one."""

    run_as_non_root: Annotated[bool | None, Field(description="Whether a pod that would run as root is refused.")] = (
        None
    )
    run_as_user: Annotated[
        int | None, Field(ge=0, json_schema_extra={"format": "int64"}, description="User id. Absent: the platform's.")
    ] = None
    run_as_group: Annotated[
        int | None, Field(ge=0, json_schema_extra={"format": "int64"}, description="Group id. Absent: the platform's.")
    ] = None
    fs_group: Annotated[
        int | None,
        Field(
            ge=0,
            json_schema_extra={"format": "int64"},
            description="Group of files on volumes. The agents' Secrets can be read by this group alone. Absent: the "
            "platform's.",
        ),
    ] = None
    fs_group_change_policy: Annotated[
        str | None, Field(max_length=32, description="When the group of files is changed: OnRootMismatch or Always.")
    ] = None
    supplemental_groups: Annotated[
        tuple[Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})], ...],
        Field(max_length=32, description="Further groups."),
    ] = ()
    seccomp_profile: Annotated[Free | None, _free("Filter of system calls.")] = None
    se_linux_options: Annotated[Free | None, _free("SELinux's labels.")] = None
    app_armor_profile: Annotated[Free | None, _free("AppArmor's profile.")] = None


class AffinitySpec(Spec):
    """``affinity`` of the pods."""

    node_affinity: Annotated[Free | None, _free("Which nodes are wanted.")] = None
    pod_affinity: Annotated[Free | None, _free("Which pods are wanted beside them.")] = None
    pod_anti_affinity: Annotated[Free | None, _free("Which pods are not wanted beside them.")] = None


class EnvironmentVariable(Spec):
    """A variable of the container."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            ("!has(self.value) || !has(self.valueFrom)", _ONE_VALUE),
            ("!self.name.startsWith('EVENTFED_')", _OWN_VARIABLES),
        )
    )

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, description="Its name.", json_schema_extra=_ENVIRONMENT_NAME_RULE),
        _ENVIRONMENT_NAME,
    ]
    value: Annotated[str | None, Field(max_length=32_768, description="Its value.")] = None
    value_from: Annotated[Free | None, _free("Where its value stands.")] = None

    @model_validator(mode="after")
    def _is_ours_to_set(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError(_ONE_VALUE)
        if self.name.startswith("EVENTFED_"):
            raise ValueError(_OWN_VARIABLES)
        return self


class VolumeSpec(Spec):
    """A volume of the pods."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            (
                "[has(self.configMap), has(self.secret), has(self.emptyDir), has(self.projected),"
                " has(self.downwardAPI), has(self.csi), has(self.ephemeral), has(self.persistentVolumeClaim)]"
                ".filter(one, one).size() == 1",
                _ONE_SOURCE,
            ),
            ("!(self.name in ['configuration', 'nats'])", _OWN_VOLUMES),
        )
    )

    name: Annotated[
        str,
        Field(min_length=1, max_length=63, description="Its name.", json_schema_extra=_VOLUME_NAME_RULE),
        _VOLUME_NAME,
    ]
    config_map: Annotated[Free | None, _free("A ConfigMap.")] = None
    secret: Annotated[Free | None, _free("A Secret.")] = None
    empty_dir: Annotated[Free | None, _free("A folder that ends with the pod.")] = None
    projected: Annotated[Free | None, _free("Several sources in one folder.")] = None
    downward_api: Annotated[Free | None, Field(alias="downwardAPI", description="Fields of the pod. As in a pod.")] = (
        None
    )
    csi: Annotated[Free | None, _free("A volume of a CSI driver, such as of secrets-store or SPIFFE.")] = None
    ephemeral: Annotated[Free | None, _free("A claim that ends with the pod.")] = None
    persistent_volume_claim: Annotated[Free | None, _free("A claim.")] = None

    @model_validator(mode="after")
    def _is_one_of_theirs(self) -> Self:
        if sum(getattr(self, source) is not None for source in _SOURCES) != 1:
            raise ValueError(_ONE_SOURCE)
        if self.name in ("configuration", "nats"):
            raise ValueError(_OWN_VOLUMES)
        return self


class VolumeMountSpec(Spec):
    """Where the container has a volume."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(("!self.mountPath.startsWith('/etc/eventfed')", _OWN_FOLDERS))
    )

    name: Annotated[str, Field(min_length=1, max_length=63, description="Name of the volume.")]
    mount_path: Annotated[
        str,
        Field(min_length=2, max_length=1024, description="Folder or file.", json_schema_extra=_MOUNT_PATH_RULE),
        _MOUNT_PATH,
    ]
    sub_path: Annotated[str | None, Field(max_length=1024, description="What of the volume. Absent: all of it.")] = None
    read_only: Annotated[bool | None, Field(description="Whether it cannot be written.")] = None

    @model_validator(mode="after")
    def _is_elsewhere(self) -> Self:
        if self.mount_path.startswith("/etc/eventfed"):
            raise ValueError(_OWN_FOLDERS)
        return self


class PodTemplateSpec(Spec):
    """What the agents' pods have beside what the operator gives them.

    An entry of the chart's values ``agents`` counts where none of the same name stands here.
    """

    labels: Annotated[
        dict[Annotated[str, LABEL_NAME], LabelValue],
        Field(
            max_length=32,
            description="Further labels.",
            json_schema_extra=refused_unless(
                (f"self.all(name, name.matches('{LABEL_PATTERN}'))", LABEL_ADVICE),
                (
                    "self.all(name, !name.startsWith('app.kubernetes.io/') && !name.startsWith('eventfed.io/'))",
                    _OWN_LABELS,
                ),
            ),
        ),
    ] = Field(default_factory=dict)
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=8192)]],
        Field(
            max_length=32,
            description="Further annotations.",
            json_schema_extra=refused_unless(
                ("self.all(name, !name.startsWith('eventfed.io/'))", _OWN_ANNOTATIONS),
            ),
        ),
    ] = Field(default_factory=dict)
    affinity: Annotated[AffinitySpec | None, Field(description="Affinity. It takes the place of the chart's.")] = None
    security_context: Annotated[
        PodSecuritySpec | None,
        Field(description="securityContext of the pods. It takes the place of the chart's podSecurityContext."),
    ] = None
    env: Annotated[
        tuple[EnvironmentVariable, ...],
        Field(
            max_length=64,
            description="Further variables of the container.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    volumes: Annotated[
        tuple[VolumeSpec, ...],
        Field(
            max_length=32,
            description="Further volumes. Those of the node (hostPath) are refused.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    volume_mounts: Annotated[
        tuple[VolumeMountSpec, ...],
        Field(
            max_length=32,
            description="Where the container has them.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["mountPath"]},
        ),
    ] = ()

    @model_validator(mode="after")
    def _leaves_ours(self) -> Self:
        if any(name.startswith(("app.kubernetes.io/", "eventfed.io/")) for name in self.labels):
            raise ValueError(_OWN_LABELS)
        if any(name.startswith("eventfed.io/") for name in self.annotations):
            raise ValueError(_OWN_ANNOTATIONS)
        return self

    def over(self, defaults: "PodTemplateSpec") -> "PodTemplateSpec":
        """This one, with what the defaults have and it has not."""
        return PodTemplateSpec(
            labels={**defaults.labels, **self.labels},
            annotations={**defaults.annotations, **self.annotations},
            affinity=defaults.affinity if self.affinity is None else self.affinity,
            security_context=defaults.security_context if self.security_context is None else self.security_context,
            env=_by("name", defaults.env, self.env),
            volumes=_by("name", defaults.volumes, self.volumes),
            volume_mounts=_by("mount_path", defaults.volume_mounts, self.volume_mounts),
        )


_Named = TypeVar("_Named", bound=Spec)


def _by(field: str, defaults: tuple[_Named, ...], own: tuple[_Named, ...]) -> tuple[_Named, ...]:
    """The entries of both; of two with one name, our own."""
    return tuple({getattr(one, field): one for one in (*defaults, *own)}.values())
