"""How the operator is told what to do: by environment variables, which the chart sets."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eventfed import Credentials, EventfedError
from eventfed.refusals import Writing, refusals

from .crd.resource import PodTemplateSpec
from .resources import ChartNats, Settings

__all__ = [
    "ChartPasswords",
    "ElectionSettings",
    "MisconfiguredEnvironment",
    "OperatorConfiguration",
    "read_environment",
]

_log = logging.getLogger("eventfed.operator")
_OPERATOR_FILE = "EVENTFED_NATS_OPERATOR_PASSWORD_FILE"
_AGENT_FILE = "EVENTFED_NATS_AGENT_PASSWORD_FILE"


class MisconfiguredEnvironment(EventfedError, ValueError):
    """An environment variable is missing or cannot be used; the message says which."""


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """The Lease of the leader. Times are in seconds.

    Args:
        name, namespace: of the Lease.
        identity: who we are: the pod's name.
        duration: how long the Lease counts after its last renewal.
        renewal: how often it is renewed; a leader that could not for `duration` less one renewal stops.
    """

    name: str
    namespace: str
    identity: str
    duration: float = 15.0
    renewal: float = 3.0


class ChartPasswords:
    """The passwords of the chart's NATS as they are now: their Secret is mounted, and may be replaced.

    Args:
        environment: names the two files.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {name: environment.get(name, "") for name in (_OPERATOR_FILE, _AGENT_FILE)}
        self._problem = ""

    def renew(self, settings: Settings, operator: Credentials | None) -> tuple[Settings, Credentials | None]:
        """The same with the passwords of now. What cannot be read is logged once, and what was known stays."""
        if settings.nats is None or operator is None:
            return settings, operator
        try:
            own, agents = _secret(self._environment, _OPERATOR_FILE), _secret(self._environment, _AGENT_FILE)
        except MisconfiguredEnvironment as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("%s; the passwords of before are used", error)
            return settings, operator
        self._problem = ""
        return replace(settings, nats=replace(settings.nats, password=agents)), replace(operator, password=own)


@dataclass(frozen=True, slots=True)
class OperatorConfiguration:
    """Everything that the process is told.

    Args:
        namespaces: which ones are served; empty: all.
        nats: how the operator logs in to the chart's NATS; None where that was switched off.
        passwords: reads those of the chart's NATS again; None where that was switched off.
        resync: how often each EventFederation is looked at although nothing happened, in seconds.
        http: (address, port) of ``/healthz``, ``/readyz`` and ``/metrics``.
        election: None: no Lease, for one operator alone.
    """

    settings: Settings
    namespaces: tuple[str, ...] = ()
    nats: Credentials | None = field(default=None, repr=False)
    passwords: ChartPasswords | None = None
    resync: float = 30.0
    http: tuple[str, int] = ("0.0.0.0", 8080)
    election: ElectionSettings | None = None
    log_level: str = "info"


def read_environment(environment: Mapping[str, str]) -> OperatorConfiguration:
    """What the variables ``EVENTFED_*`` say. Passwords stand in files that they name.

    Raises:
        MisconfiguredEnvironment: naming the variable and what it should hold.
    """
    image = environment.get("EVENTFED_IMAGE", "")
    if not image:
        raise MisconfiguredEnvironment("EVENTFED_IMAGE: name the image of the agents")
    servers = _words(environment, "EVENTFED_NATS_SERVERS")
    nats, chart = None, None
    if servers:
        nats = Credentials(
            user=environment.get("EVENTFED_NATS_OPERATOR_USER", "operator"),
            password=_secret(environment, _OPERATOR_FILE),
        )
        chart = ChartNats(
            servers,
            environment.get("EVENTFED_NATS_AGENT_USER", "agent"),
            _secret(environment, _AGENT_FILE),
        )
    election = None
    if environment.get("EVENTFED_LEASE"):
        try:
            identity, namespace = environment["EVENTFED_POD"], environment["EVENTFED_NAMESPACE"]
        except KeyError as error:
            raise MisconfiguredEnvironment(
                f"{error.args[0]}: EVENTFED_LEASE needs it, from the pod's metadata"
            ) from None
        election = ElectionSettings(environment["EVENTFED_LEASE"], namespace, identity)
    level = environment.get("EVENTFED_LOG_LEVEL", "info").lower()
    if level not in ("debug", "info", "warning", "error"):
        raise MisconfiguredEnvironment(f"EVENTFED_LOG_LEVEL: {level!r:.20} is none of debug, info, warning, error")
    settings = Settings(
        image=image,
        nats=chart,
        allow_federations=frozenset(_words(environment, "EVENTFED_ALLOW_FEDERATIONS")),
        metrics_from=_peers(environment),
        pull_secrets=_words(environment, "EVENTFED_PULL_SECRETS"),
        **_agents(environment),
        withdrawal=_seconds(environment, "EVENTFED_WITHDRAWAL", 30.0),
    )
    return OperatorConfiguration(
        settings=settings,
        namespaces=_words(environment, "EVENTFED_WATCH_NAMESPACES"),
        nats=nats,
        passwords=ChartPasswords(environment) if servers else None,
        resync=_seconds(environment, "EVENTFED_RESYNC", 30.0),
        http=_address(environment),
        election=election,
        log_level=level,
    )


def _words(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in environment.get(name, "").split(",") if word.strip())


def _secret(environment: Mapping[str, str], name: str) -> str:
    path = environment.get(name, "")
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise MisconfiguredEnvironment(f"{name}: cannot read {path!r:.200}: {error}") from None
    if not text:
        raise MisconfiguredEnvironment(f"{name}: {path} is empty")
    return text


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(environment.get(name) or default)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 3600:
        raise MisconfiguredEnvironment(f"{name}: {environment[name]!r:.20}: write seconds, from 1 to 3600")
    return value


def _address(environment: Mapping[str, str]) -> tuple[str, int]:
    host, colon, port = environment.get("EVENTFED_HTTP", "0.0.0.0:8080").rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise MisconfiguredEnvironment("EVENTFED_HTTP: write ADDRESS:PORT, such as 0.0.0.0:8080 or [::]:8080")
    return host.strip("[]"), int(port)


def _agents(environment: Mapping[str, str]) -> dict[str, Any]:
    """The chart's template of agents' pods; without one, that of the settings."""
    text = environment.get("EVENTFED_AGENT_POD_TEMPLATE", "")
    if not text:
        return {}
    try:
        given = json.loads(text)
        container = given.pop("containerSecurityContext", {})
        template = PodTemplateSpec.model_validate(given)
    except ValidationError as error:
        wrong = refusals(error, PodTemplateSpec, Writing.MANIFEST)
        lines = [": ".join(filter(None, (one.where, one.message))) for one in wrong]
        raise MisconfiguredEnvironment(f"EVENTFED_AGENT_POD_TEMPLATE: {'; '.join(lines)}") from None
    except (ValueError, AttributeError, TypeError):
        container, template = None, PodTemplateSpec()
    if not isinstance(container, dict):
        raise MisconfiguredEnvironment(
            "EVENTFED_AGENT_POD_TEMPLATE: write a JSON object with the fields of spec.agent.podTemplate, and "
            "containerSecurityContext"
        )
    return {"agent_template": template, "container_security": container}


def _peers(environment: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    try:
        peers = json.loads(environment.get("EVENTFED_METRICS_FROM") or '[{"namespaceSelector": {}}]')
    except ValueError:
        peers = None
    # An empty list would let everybody in.
    if not isinstance(peers, list) or not peers or not all(isinstance(one, dict) for one in peers):
        raise MisconfiguredEnvironment("EVENTFED_METRICS_FROM: write a JSON list of NetworkPolicy peers, not empty")
    return tuple(peers)
