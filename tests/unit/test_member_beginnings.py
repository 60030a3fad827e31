"""What a member makes of a PUBLISH without an ETag: a restart, another agent's server, or its own that goes on."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from eventfed import EID, Federation
from eventfed.spec import EventSpec
from eventfed_agent.adapter import Adapter
from eventfed_agent.configuration import MemberConfiguration, TimingSection
from eventfed_agent.event_log import EventLog
from eventfed_agent.members.member import Member
from eventfed_agent.members.member_status import Registry
from eventfed_agent.members.names import Filters
from eventfed_agent.pjsip.intake import PublishAnswer, take_in
from eventfed_agent.pjsip.payloads import Payload, RefreshPayload
from eventfed_agent.pjsip.sip import Beginning, Publication, PublicationKind

OWN = EID.derive("a")


def member() -> Any:
    """A member that has said who it is."""

    async def is_alive(within: float) -> bool:
        return True

    one = Member(
        MemberConfiguration(name="a", host="10.0.0.1"),
        cast(Adapter, SimpleNamespace(is_alive=is_alive, expect_restart=lambda: None)),
        cast(Federation, SimpleNamespace()),
        cast(Registry, SimpleNamespace(federation_eid=EID.derive("eventfed/test"))),
        filters=Filters((EventSpec.model_validate({"type": "device_state"}),)),
        timing=TimingSection(),
        event_log=EventLog(structlog.testing.CapturingLogger()),
    )
    identity = SimpleNamespace(
        eid=OWN, outdated=False, duplicate_of=None, hears=lambda: True, spoke=lambda: None, appear=lambda: None
    )
    cast(Any, one).identity = identity
    cast(Any, one)._life._tasks = asyncio.TaskGroup()  # it is open
    return one


async def reasons(
    kind: PublicationKind, beginning: Beginning | None, payload: Payload | None = None, *, gap: bool = False
) -> tuple[set[str], bool, bool]:
    """Why it is asked for a dump then; whether it is given everything; whether what it says next is `Shared` news."""
    one = member()
    one._liveness.alive = True
    one._life._tasks = asyncio.TaskGroup()  # it is open
    publication = Publication(kind, "a", "asterisk-mwi", "call", 7, gap, None, 60, beginning)
    assert take_in(one, one.adapter, publication, payload) is PublishAnswer.ACCEPT
    everything = one._restart is not None
    if everything:
        one._restart.cancel()
    assert (one.counters.restarts == 1) is (one._shared_order._spoken is not None)
    return set(one.dumps.reasons), everything, one._shared_order._spoken is not None


async def test_an_initial_after_an_expiry_asks_for_no_dump_gives_nothing_and_makes_no_news() -> None:
    assert await reasons(PublicationKind.INITIAL, Beginning.EXPIRED_ETAG) == (set(), False, False)


async def test_an_initial_after_an_expiry_that_shows_a_gap_asks_for_a_dump_and_gives_nothing() -> None:
    assert await reasons(PublicationKind.INITIAL, Beginning.EXPIRED_ETAG, gap=True) == ({"gap"}, False, False)


@pytest.mark.parametrize("beginning", [Beginning.OWN, Beginning.UNKNOWN_ETAG])
async def test_an_initial_of_a_server_that_started_or_was_anothers_gives_everything(beginning: Beginning) -> None:
    assert await reasons(PublicationKind.INITIAL, beginning) == ({"initial"}, True, False)


@pytest.mark.parametrize(
    ("kind", "beginning", "news"),
    [
        (PublicationKind.INITIAL, Beginning.OWN, True),
        (PublicationKind.INITIAL, Beginning.UNKNOWN_ETAG, False),
        (PublicationKind.INITIAL, Beginning.EXPIRED_ETAG, False),
        (PublicationKind.MODIFY, None, False),
    ],
    ids=["a start", "a reload after the agent's restart", "a reload after an expiry", "a reload"],
)
async def test_a_refresh_gives_everything_and_is_news_after_a_start_alone(
    kind: PublicationKind, beginning: Beginning | None, news: bool
) -> None:
    assert await reasons(kind, beginning, RefreshPayload(OWN)) == ({"refresh"}, True, news)
