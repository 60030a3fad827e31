"""The agents' configuration file and the Secrets that it names."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .crd.resource import CredentialsSpec, EventFederationSpec, NatsSpec, SecretKey
from .resources import InvalidResource, Resource, Settings
from .tokens import HeaderTokens

__all__ = [
    "CONFIGURATION_FOLDER",
    "HTTP_PORT",
    "NATS_FOLDER",
    "NO_NATS",
    "SIP_PORT",
    "AgentConfigurationFile",
    "SecretFile",
    "agent_configuration",
    "live_sections",
    "referenced_secrets",
    "toml_document",
]

CONFIGURATION_FOLDER = "/etc/eventfed"
"""Where the agents' Secret is mounted."""

NO_NATS = "spec.nats.servers is missing, and this operator was installed without the chart's NATS: name your servers"
NATS_FOLDER = "/etc/eventfed-nats"
SIP_PORT = 5066
HANDOVER = 6.0
"""How long, in seconds, an agent that is told to end serves on at most, until the next one of its node has the members.

It is not ready meanwhile: kube-proxy lets what has flowed to one pod flow there as long as that is ready, though it is
about to end (``pkg/proxy/conntrack/cleanup.go``: only of pods that do not serve the flows are cut), and all that
Asterisk sends is one flow. A rollout that ended agents which were ready to the last stopped states for 2 to 12 s.
"""
HTTP_PORT = 9466

_LIVE_SECRETS = {"token": "token_file", "previous-token": "previous_token_file"}
"""Header secrets, and the fields of ``[agent]`` that name their files: a running agent takes both over."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """An entry of a Secret as a file in ``/etc/eventfed-nats``."""

    secret: str
    key: str
    path: str


@dataclass(frozen=True, slots=True)
class AgentConfigurationFile:
    """What agents read.

    Args:
        text: the TOML file.
        files: what is mounted beside it from the user's own Secrets.
        secrets: further entries of the agents' own Secret.
        checksum: changes when a running agent cannot take the change over.
    """

    text: str
    files: tuple[SecretFile, ...]
    secrets: Mapping[str, str] = field(repr=False)
    checksum: str = ""


def agent_configuration(
    resource: Resource, settings: Settings, tokens: HeaderTokens, secret_versions: Mapping[str, str | None]
) -> AgentConfigurationFile:
    """The agents' file.

    Args:
        secret_versions: ``resourceVersion`` of each Secret that the EventFederation names: another version of a
            password needs other agents. None for one that is missing.

    Raises:
        InvalidResource: there is no NATS to name.
    """
    spec = resource.spec
    nats, files, secrets = _nats(spec.nats, settings)
    secrets = {**secrets, "token": tokens.current, **({"previous-token": tokens.previous} if tokens.previous else {})}
    sections: dict[str, Any] = {
        "federation": {"name": resource.federation, "site": spec.site},
        "nats": {**nats, "subject_prefix": spec.nats.subject_prefix, "create_stream": False},
        "agent": {
            "listen": [f"0.0.0.0:{SIP_PORT}"],
            "http": f"0.0.0.0:{HTTP_PORT}",
            "token_file": f"{CONFIGURATION_FOLDER}/token",
            **({"previous_token_file": f"{CONFIGURATION_FOLDER}/previous-token"} if tokens.previous else {}),
            "log_level": spec.agent.log_level,
            "log_format": "json",
        },
        "timing": {"handover": HANDOVER},
    }
    fixed = dict(sections)
    fixed["agent"] = {key: value for key, value in fixed["agent"].items() if key not in _LIVE_SECRETS.values()}
    kept = {key: value for key, value in secrets.items() if key not in _LIVE_SECRETS}
    seen = {file.secret: secret_versions.get(file.secret) for file in files}
    digest = hashlib.sha256(json.dumps([fixed, kept, seen], sort_keys=True).encode()).hexdigest()
    return AgentConfigurationFile(toml_document(sections | live_sections(spec)), files, secrets, digest[:32])


def live_sections(spec: EventFederationSpec) -> dict[str, Any]:
    """What a running agent takes over, from its file and from its roster; any other change needs another process."""
    return {
        "departure": spec.departure.model_dump(mode="json"),
        "events": [event.model_dump(mode="json", exclude_defaults=True) for event in spec.events],
    }


def _nats(spec: NatsSpec, settings: Settings) -> tuple[dict[str, Any], tuple[SecretFile, ...], dict[str, str]]:
    """Section ``[nats]``, the files that it names, and our further secrets."""
    if spec.servers is None:
        chart = settings.nats
        if chart is None:
            raise InvalidResource(NO_NATS)
        section: dict[str, Any] = {
            "servers": list(chart.servers),
            "user": chart.user,
            "password_file": f"{CONFIGURATION_FOLDER}/nats-password",
            # The users of one account see each other's inboxes, so each has those of a prefix of its own.
            "inbox_prefix": f"_INBOX_{chart.user}",
        }
        return section, (), {"nats-password": chart.password}
    section = {"servers": list(spec.servers)}
    files: list[SecretFile] = []

    def mount(name: str, secret: str, key: str) -> None:
        files.append(SecretFile(secret, key, name.removesuffix("_file")))
        section[name] = f"{NATS_FOLDER}/{files[-1].path}"

    for name, reference in _credential_files(spec.credentials).items():
        mount(name, reference.name, reference.key)
    if spec.credentials is not None and spec.credentials.user is not None:
        section["user"] = spec.credentials.user
    if spec.tls is not None:
        if spec.tls.authorities is not None:
            mount("ca_file", spec.tls.authorities.name, spec.tls.authorities.key)
        if spec.tls.certificate is not None:
            mount("certificate_file", spec.tls.certificate, "tls.crt")
            mount("key_file", spec.tls.certificate, "tls.key")
        if spec.tls.handshake_first:
            section["tls_handshake_first"] = True
    return section, tuple(files), {}


def _credential_files(credentials: CredentialsSpec | None) -> dict[str, SecretKey]:
    if credentials is None:
        return {}
    references = {
        "password_file": credentials.password,
        "token_file": credentials.token,
        "credentials_file": credentials.credentials_file,
        "nkey_seed_file": credentials.nkey_seed,
    }
    return {name: reference for name, reference in references.items() if reference is not None}


def referenced_secrets(spec: NatsSpec) -> dict[str, set[str]]:
    """The Secrets that an EventFederation names, each with the keys that it must have."""
    wanted: dict[str, set[str]] = {}
    for credentials in (spec.credentials, spec.operator_credentials):
        for reference in _credential_files(credentials).values():
            wanted.setdefault(reference.name, set()).add(reference.key)
    if spec.tls is not None:
        if spec.tls.authorities is not None:
            wanted.setdefault(spec.tls.authorities.name, set()).add(spec.tls.authorities.key)
        if spec.tls.certificate is not None:
            wanted.setdefault(spec.tls.certificate, set()).update(("tls.crt", "tls.key"))
    return wanted


def toml_document(sections: Mapping[str, Any]) -> str:
    """TOML of tables and of lists of tables; values are texts, numbers, booleans and lists of these."""
    lines: list[str] = []
    for name, section in sections.items():
        tables = section if isinstance(section, list) else [section]
        head = f"[[{name}]]" if isinstance(section, list) else f"[{name}]"
        for table in tables:
            lines += [head, *(f"{key} = {_toml_value(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def _toml_value(value: object) -> str:
    # As in JSON, but for DEL, which TOML wants escaped, and for surrogate pairs, which it does not know.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
