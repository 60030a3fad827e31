"""What the operator does on NATS: the stream, the rosters, and what agents tell of members."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from eventfed import Credentials, EventfedError, Federation, FederationSettings, Subjects
from eventfed.wire.report import AgentReport, MemberState
from eventfed.wire.roster import Roster

from .snapshot import BusSnapshot, MemberReport, Stream
from .streams import OWNER

__all__ = ["FederationBus", "NatsBus", "NoBus", "member_reports", "open_nats_bus"]

_SETTINGS = FederationSettings(create_stream=False, deputy=False, read_states=False, read_reports=True)
_LOOK = 1.0


class NoBus(EventfedError):
    """There is no NATS of which something could be asked."""


class FederationBus(Protocol):
    """The NATS of one federation. Requests raise an `EventfedError` where NATS refuses or does not answer."""

    async def observe(self, *, mark: str) -> BusSnapshot:
        """How things stand; it does not fail when NATS is away, but says so.

        Args:
            mark: of the header secret that members should accept by now; empty if there is none yet.
        """

    async def ensure_stream(self, configuration: Mapping[str, Any], *, exists: bool) -> None:
        """Make the stream, or give it this configuration."""

    async def delete_stream(self) -> None:
        """Delete the stream; one that is gone is fine."""

    async def publish_roster(self, node: str, roster: Roster | None) -> None:
        """Put a node's roster on the stream; None takes it away."""


def member_reports(reports: Iterable[AgentReport], *, mark: str) -> dict[str, MemberReport]:
    """What agents tell of members, by pod UID.

    While agents are replaced, two tell of one member: one of them has it, so that it is synced counts more.

    Args:
        reports: the newest last.
        mark: of the current header secret.
    """
    told: dict[str, MemberReport] = {}
    for report in reports:
        for one in report.members:
            try:
                state = MemberState(one.state)
            except ValueError:
                # The word of an agent of a later version.
                state = MemberState.SYNCING
            before = told.get(one.uid)
            if before is not None and before.state is MemberState.SYNCED:
                continue
            accepts = (one.token == mark) if one.token and mark else None
            told[one.uid] = MemberReport(one.uid, state, one.reason, one.eid, one.contended_mailboxes, accepts)
    return told


class NatsBus:
    """See `FederationBus`."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._administration = federation.administration

    async def observe(self, *, mark: str) -> BusSnapshot:
        federation = self._federation
        reports = federation.reports.current()
        leases = tuple(federation.members())
        told = member_reports(reports, mark=mark)
        names = tuple(sorted({name for report in reports for name in report.contended_names}))
        try:
            info = await self._administration.stream()
        except EventfedError as error:
            return BusSnapshot(
                problem=federation.problem or str(error), leases=leases, reports=told, contended_names=names
            )
        if info is None:
            return BusSnapshot(connected=True, leases=leases, reports=told, contended_names=names)
        problems = {report.agent: report.problem for report in reports if report.problem}
        owner = (info.configuration.get("metadata") or {}).get(OWNER, "")
        stream = Stream(owner, info.configuration, info.messages, info.bytes)
        rosters = dict(federation.rosters.present)
        return BusSnapshot(True, federation.problem, stream, leases, rosters, told, names, problems)

    async def ensure_stream(self, configuration: Mapping[str, Any], *, exists: bool) -> None:
        if exists:
            await self._administration.update_stream(configuration)
        else:
            await self._administration.make_stream(configuration)

    async def delete_stream(self) -> None:
        await self._administration.delete_stream()

    async def publish_roster(self, node: str, roster: Roster | None) -> None:
        if roster is None:
            await self._administration.delete_roster(node)
        else:
            await self._administration.write_roster(roster)


@asynccontextmanager
async def open_nats_bus(
    subjects: Subjects, servers: Sequence[str], credentials: Credentials, *, on_change: Callable[[], None]
) -> AsyncIterator[NatsBus]:
    """The NATS of one federation while the context is open. It never fails nor waits because NATS is away.

    Args:
        on_change: called when leases, rosters or reports changed, or NATS came or went.
    """
    async with AsyncExitStack() as stack:
        federation = await stack.enter_async_context(
            Federation.connect(
                servers,
                federation=subjects.federation,
                agent="operator",
                site=subjects.site,
                prefix=subjects.prefix,
                settings=_SETTINGS,
                credentials=credentials,
            )
        )
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for stop in (
            federation.view.listen(on_change),
            federation.rosters.listen(lambda _: on_change()),
            federation.reports.listen(lambda _: on_change()),
        ):
            stack.callback(stop)
        stack.callback(group.create_task(_tell_of_sessions(federation, on_change)).cancel)
        yield NatsBus(federation)


async def _tell_of_sessions(federation: Federation, on_change: Callable[[], None]) -> None:
    """Whether NATS came or went nobody else tells; conditions should not wait for the next resync."""
    before = (federation.connected, federation.problem)
    while True:
        await asyncio.sleep(_LOOK)
        present = (federation.connected, federation.problem)
        if present != before:
            before = present
            on_change()
