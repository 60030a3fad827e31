"""``eventfed check``: one line about a running agent, for monitoring systems that run commands."""

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from prometheus_client.parser import text_string_to_metric_families

from eventfed.wire.report import MemberState
from eventfed_agent.configuration import ConfigurationError, load_configuration

from ._agent_http import agent_url, fetch
from ._exits import Exit

__all__ = ["Format", "Judgement", "Severity", "judge", "run"]

Format = Literal["text", "nagios", "zabbix", "json"]
_FIGURES = {
    "waiting": "eventfed_bus_waiting",
    "states": "eventfed_states",
    "contended_names": "eventfed_contended_names",
}
_UNDER_WAY = (MemberState.CONNECTING, MemberState.SYNCING)


class Severity(enum.IntEnum):
    """How bad it is; the exit codes of Nagios' plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Judgement:
    """How an agent stands.

    Args:
        faults: what is wrong, the worst first, each with what the agent says of it.
        figures: numbers to be recorded, by name.
        members: the state of each member, by name.
    """

    faults: Sequence[tuple[Severity, str]]
    figures: Mapping[str, float]
    members: Mapping[str, str]

    @property
    def severity(self) -> Severity:
        return max((severity for severity, _ in self.faults), default=Severity.OK)

    @property
    def summary(self) -> str:
        """One line, whatever the agent said."""
        told = "; ".join(text for _, text in self.faults) or f"{len(self.members)} members synced"
        return " ".join(told.replace("|", "/").split())


def judge(members: Iterable[Mapping[str, Any]], exposition: str) -> Judgement:
    """What ``/members`` and ``/metrics`` of an agent come to.

    Raises:
        ValueError, KeyError: for what no agent says.
    """
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }
    states = {str(member["name"]): member for member in members}
    faults: list[tuple[Severity, str]] = []
    if not samples["eventfed_bus_connected",]:
        faults.append((Severity.CRITICAL, "NATS is not connected"))
    for name, *labels in samples:
        if name == "eventfed_bus_problem" and samples[name, *labels]:
            faults.append((Severity.WARNING, f"NATS does not do its work ({labels[0]})"))
    if not states:
        faults.append((Severity.WARNING, "the agent serves no member"))
    for name, member in states.items():
        state, reason = str(member["state"]), str(member.get("reason") or "")
        if state != MemberState.SYNCED:
            severity = Severity.WARNING if state in _UNDER_WAY else Severity.CRITICAL
            faults.append((severity, f"{name} is {state}" + (f" ({reason})" if reason else "")))
    figures = {name: samples.get((metric,), 0.0) for name, metric in _FIGURES.items()}
    figures |= {
        "members": float(len(states)),
        "synced": float(sum(member["state"] == MemberState.SYNCED for member in states.values())),
        "backlog": float(sum(member.get("backlog", 0) for member in states.values())),
    }
    faults.sort(key=lambda fault: -fault[0])
    return Judgement(faults, figures, {name: str(member["state"]) for name, member in states.items()})


def run(file: Path | None, url: str | None, *, form: Format, timeout: float) -> None:
    """Print how the agent stands, and exit with what says so.

    Raises:
        ConfigurationError: when the file cannot be used, or names no HTTP address.
    """
    place = url or _url_of(file)
    try:
        members = json.loads(fetch(f"{place}/members", timeout))
        judgement = judge(members, fetch(f"{place}/metrics", timeout).decode())
    except OSError as error:
        why = getattr(error, "reason", None) or error
        judgement = Judgement([(Severity.CRITICAL, f"no agent answers at {place}: {why}")], {}, {})
    except (ValueError, KeyError, TypeError):
        judgement = Judgement([(Severity.CRITICAL, f"what answers at {place} is no agent")], {}, {})
    print(_written(judgement, form))
    if judgement.severity is not Severity.OK:
        raise typer.Exit(judgement.severity if form == "nagios" else Exit.PROBLEM)


def _url_of(file: Path | None) -> str:
    if file is None:
        raise ConfigurationError("name the agent with --config FILE or --url http://ADDRESS:PORT")
    address = load_configuration(file).agent.http
    if address is None:
        raise ConfigurationError(f"{file}: agent.http is not set: this agent cannot be asked")
    return agent_url(address)


def _written(judgement: Judgement, form: Format) -> str:
    severity, figures = judgement.severity, judgement.figures
    match form:
        case "nagios":
            recorded = " ".join(f"{name}={value:g}" for name, value in sorted(figures.items()))
            return f"EVENTFED {severity.name} - {judgement.summary}" + (f" | {recorded}" if recorded else "")
        case "zabbix":
            # One document for a master item; its members also are what low-level discovery takes.
            discovered = [{"{#MEMBER}": name, "state": state} for name, state in judgement.members.items()]
            status = {"severity": int(severity), "summary": judgement.summary}
            return json.dumps({**status, **figures, "members_found": discovered}, ensure_ascii=False)
        case "json":
            document = {
                "severity": severity.name.lower(),
                "faults": [{"severity": one.name.lower(), "text": text} for one, text in judgement.faults],
                "figures": dict(figures),
                "members": dict(judgement.members),
            }
            return json.dumps(document, indent=2, ensure_ascii=False)
        case "text":
            return f"{severity.name.lower()}: {judgement.summary}"
