"""What the agent reports of its members on NATS, for the operator."""

import asyncio
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from eventfed import EventfedError, Federation
from eventfed.wire.report import MAX_NAMES, AgentReport, ReportedMember
from eventfed.wire.roster import MAX_ROSTER

from .contention import NamesInTrouble
from .event_log import EventLog
from .members.member import Member

__all__ = ["report_repeatedly", "reported"]

_LOOK = 1.0
_REPEAT = 5.0


def software_version() -> str:
    try:
        return version("eventfed")
    except PackageNotFoundError:
        return ""


def reported(members: Iterable[Member]) -> tuple[ReportedMember, ...]:
    """How members stand."""
    return tuple(
        ReportedMember(
            uid=member.configuration.identity,
            state=member.state.value,
            reason=member.reason,
            eid=str(member.eid or (member.standing.refused[0] if member.standing.refused else "")),
            contended_mailboxes=len(member.contended),
            token=member.adapter.token_taken,
        )
        for member in sorted(members, key=lambda member: member.configuration.identity)[:MAX_ROSTER]
    )


async def report_repeatedly(
    federation: Federation, members: Mapping[str, Member], node: str, names: NamesInTrouble, event_log: EventLog
) -> None:
    """Report what changed, once a second at most, and everything every 5 s; until cancelled."""
    loop, software = asyncio.get_running_loop(), software_version()
    sent: AgentReport | None = None
    sent_at = float("-inf")
    while True:
        now = loop.time()
        names.look()
        report = AgentReport(
            federation.agent,
            federation.instance,
            node,
            software,
            reported(members.values()),
            tuple(names.contended()[:MAX_NAMES]),
            federation.problem or "",
        )
        if federation.connected and (report != sent or now - sent_at >= _REPEAT):
            sent, sent_at = report, now
            try:
                federation.report(report)
            except EventfedError as error:
                event_log.warn("report_impossible", federation.agent, error=str(error))
        await asyncio.sleep(_LOOK)
