"""``eventfed doctor``: every check of an agent's file, against the world as it is."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from eventfed import EID, EventfedError, Lease
from eventfed.model.device_kinds import LONGEST_ANNOUNCED
from eventfed.spec import VoicemailStorage
from eventfed_agent.configuration import (
    AgentConfiguration,
    MemberConfiguration,
    load_configuration,
    split_address,
)
from eventfed_agent.members.names import Filters
from eventfed_agent.nats_access import federation_settings
from eventfed_agent.pjsip.listening import address_for
from eventfed_agent.pjsip.sip import Bind, SecretHeader, TransportFailed, UserAgent
from eventfed_agent.process.run import read_tokens

from ._agent_http import agent_url, fetch
from ._bus import BusTarget, connect
from ._doctor_files import ServerFiles, poll_finding, read_server_files
from ._doctor_nats import check_nats
from ._doctor_probes import Prober
from ._exits import Exit
from ._findings import Finding, Verdict, not_checked, ok, problem
from ._tables import printable, stdout, table

__all__ = ["examine", "print_findings", "run"]

_STYLES = {Verdict.OK: "", Verdict.PROBLEM: "bold red", Verdict.NOT_CHECKED: "yellow"}


def run(file: Path, *, timeout: float, as_json: bool) -> None:
    """Print all findings; exit code 1 if any is a problem.

    Raises:
        ConfigurationError: when the file cannot be used.
    """
    findings = asyncio.run(examine(load_configuration(file), timeout))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        print_findings(findings)
    if any(finding.verdict is Verdict.PROBLEM for finding in findings):
        raise typer.Exit(Exit.PROBLEM)


def print_findings(findings: Sequence[Finding]) -> None:
    """A table for people, and below it what to change."""
    result = table(["WHAT", "CHECK", "RESULT", "SEEN"], [])
    for finding in findings:
        cells = map(Text, map(printable, (finding.subject, finding.check, finding.verdict, finding.detail)))
        result.add_row(*cells, style=_STYLES[finding.verdict])
    console = stdout()
    console.print(result)
    changes = [finding for finding in findings if finding.change]
    for finding in changes:
        mark = "change" if finding.verdict is Verdict.PROBLEM else "may help"
        console.print(f"{mark}: {finding.subject}, {finding.check}: {finding.change}", markup=False, soft_wrap=True)


async def examine(configuration: AgentConfiguration, timeout: float) -> list[Finding]:  # noqa: ASYNC109
    """All checks, NATS first, then each member in the file's order. `timeout` is for each answer, in seconds."""
    found = await check_nats(configuration, timeout)
    leases = await _leases(configuration, timeout)
    told, finding = await _ask_agent(configuration, timeout)
    found.append(finding)
    tokens = read_tokens(configuration).values
    headers = [SecretHeader(token.get_secret_value()) for token in tokens]
    files = {member.name: await asyncio.to_thread(_read_files, member) for member in configuration.members}
    found += _same_entity_ids(files)
    probes = await _probe(configuration, headers, files, timeout)
    for member in configuration.members:
        found += probes[member.name]
        found += _lease_findings(member, leases, told.get(member.name))
        found += _file_findings(configuration, member, files[member.name], told.get(member.name))
    return found


async def _probe(
    configuration: AgentConfiguration,
    headers: Sequence[SecretHeader],
    files: Mapping[str, ServerFiles | None],
    timeout: float,  # noqa: ASYNC109
) -> dict[str, list[Finding]]:
    """What each member says to our requests, by its name."""

    async def probe(member: MemberConfiguration) -> None:
        known = files[member.name]
        prober = Prober(user_agent, member, headers, timeout=timeout)
        found[member.name] = await prober.check(known.open_endpoints if known else None)

    found: dict[str, list[Finding]] = {}
    try:
        async with (
            UserAgent(_binds(configuration), lambda request, source: None) as user_agent,
            asyncio.TaskGroup() as tasks,
        ):
            for member in configuration.members:
                tasks.create_task(probe(member))
    except TransportFailed as error:
        change = "run the doctor where the agent runs"
        return {m.name: [not_checked(m.name, "reachable", str(error), change)] for m in configuration.members}
    return found


# The bus and the agent


async def _leases(configuration: AgentConfiguration, timeout: float) -> list[Lease] | None:  # noqa: ASYNC109
    """The live leases; None where the bus cannot be read."""
    access = BusTarget(configuration.federation, configuration.nats, federation_settings(configuration), timeout)
    try:
        async with connect(access) as federation:
            return federation.members()
    except EventfedError:
        return None


async def _ask_agent(
    configuration: AgentConfiguration,
    timeout: float,  # noqa: ASYNC109
) -> tuple[dict[str, dict[str, Any]], Finding]:
    """What the agent tells of its members, by name."""
    subject, address = "agent", configuration.agent.http
    if address is None:
        return {}, not_checked(subject, "runs", "agent.http is not set")
    url = f"{agent_url(address)}/members"
    try:
        members = json.loads(await asyncio.to_thread(fetch, url, timeout))
        return {member["name"]: member for member in members}, ok(subject, "runs", f"it answers at {url}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        return {}, not_checked(
            subject, "runs", f"no answer at {url}: {error}", "start it: eventfed agent --config FILE"
        )


def _lease_findings(
    member: MemberConfiguration, leases: list[Lease] | None, told: dict[str, Any] | None
) -> list[Finding]:
    found = []
    name = member.name
    if told is not None:
        state, reason = str(told.get("state")), str(told.get("reason"))
        if state in ("synced", "syncing"):
            found.append(ok(name, "member", state))
        else:
            found.append(problem(name, "member", state, reason))
        for device in told.get("cut_names") or ():
            detail = f"{device} has {LONGEST_ANNOUNCED} bytes, where Asterisk cuts longer names"
            found.append(problem(name, "long name", detail, "shorten it: no hint of another server matches it"))
    if leases is None:
        return [*found, not_checked(name, "EID", "the bus cannot be read")]
    lease = next((lease for lease in leases if lease.uid == member.identity or lease.address == member.address), None)
    if lease is None:
        return [*found, not_checked(name, "EID", "no agent holds a lease for it", "start its agent, then ask again")]
    return [*found, _eid_finding(member, lease.eid)]


def _eid_finding(member: MemberConfiguration, eid: EID) -> Finding:
    line = f"put this into [options] of asterisk.conf: entityid = {EID.derive(member.name)}"
    if member.eid is not None and member.eid != str(eid):
        return problem(member.name, "EID", f"it says {eid}, the file says {member.eid}", "correct one of the two")
    if not eid.octets[0] & 0x02:
        return problem(member.name, "EID", f"{eid} comes from a MAC address and changes with the pod", line)
    return ok(member.name, "EID", f"{eid}, locally administered")


# Files


def _read_files(member: MemberConfiguration) -> ServerFiles | None:
    etc = member.etc
    if etc is None or not etc.is_dir():
        return None

    def source(name: str) -> list[tuple[str, str]]:
        found = []
        relative = name.removeprefix("/etc/asterisk/").lstrip("/")
        try:
            paths = sorted(etc.glob(relative)) if relative else []
            if not paths and name.startswith("/"):
                paths = sorted(Path("/").glob(name.lstrip("/")))
        except (ValueError, NotImplementedError):
            paths = []
        for path in paths:
            try:
                found.append((str(path), path.read_text(encoding="utf-8", errors="replace")))
            except OSError:
                continue
        return found

    return read_server_files(source)


def _same_entity_ids(files: dict[str, ServerFiles | None]) -> list[Finding]:
    owners: dict[str, list[str]] = {}
    for name, known in files.items():
        if known is not None and known.entity_id:
            owners.setdefault(known.entity_id.lower(), []).append(name)
    return [
        problem(
            names[-1],
            "entityid",
            f"{eid} is that of {', '.join(names[:-1])} as well",
            f"put this into [options] of its asterisk.conf: entityid = {EID.derive(names[-1])}",
        )
        for eid, names in owners.items()
        if len(names) > 1
    ]


def _file_findings(
    configuration: AgentConfiguration,
    member: MemberConfiguration,
    known: ServerFiles | None,
    told: dict[str, Any] | None,
) -> list[Finding]:
    filters = Filters(configuration.events)
    storage = filters.storage if any(event.voicemail_storage for event in configuration.events) else None
    if known is not None:
        return known.findings(
            member.name,
            tokens=list(read_tokens(configuration).values),
            agent_host=_agent_host(configuration, member),
            storage=storage,
            filters=filters,
        )
    name = member.name
    missing = f"{member.etc} is no directory" if member.etc else "not given"
    change = f'give etc = "/etc/asterisk" for member {name} where its files can be read'
    found = [not_checked(name, "files", f"etc: {missing}", change)]
    if storage is VoicemailStorage.SEPARATE:
        contended = (told or {}).get("contended_mailboxes")
        if contended:
            found.append(poll_finding(name, True, storage))
        else:
            found.append(not_checked(name, "pollmailboxes", f"etc: {missing}; the agent has not noticed it", change))
    return found


def _agent_host(configuration: AgentConfiguration, member: MemberConfiguration) -> str | None:
    try:
        return address_for(configuration, member)[0]
    except TransportFailed:
        return None


def _binds(configuration: AgentConfiguration) -> list[Bind]:
    """The agent's own addresses with ports that are free: servers may know the agent by its address."""
    return [Bind(host, 0) for host in dict.fromkeys(split_address(text)[0] for text in configuration.agent.listen)]
