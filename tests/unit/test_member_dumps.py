"""What a member makes of a dump whose messages did not all come to this agent."""

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
from eventfed_agent.pjsip.sip import Publication, PublicationKind

DEVICE = "Custom:lamp"


def member() -> Member:
    async def is_alive(within: float) -> bool:
        return True

    return Member(
        MemberConfiguration(name="a", host="10.0.0.1"),
        cast(Adapter, SimpleNamespace(is_alive=is_alive)),
        cast(Federation, SimpleNamespace()),
        cast(Registry, SimpleNamespace(federation_eid=EID.derive("eventfed/test"))),
        filters=Filters((EventSpec.model_validate({"type": "device_state"}),)),
        timing=TimingSection(),
        event_log=EventLog(structlog.testing.CapturingLogger()),
    )


def publish(kind: PublicationKind, *, cseq_gap: bool = False) -> Publication:
    return Publication(kind, "a", "asterisk-devicestate", "call", 7, cseq_gap, None, 60)


@pytest.mark.parametrize(
    ("publication", "missing"),
    [
        (publish(PublicationKind.MODIFY), {DEVICE}),
        (publish(PublicationKind.MODIFY, cseq_gap=True), set[str]()),
        # As when the agent before this one had the first part of the dump, and this one knows no ETag of its.
        (publish(PublicationKind.INITIAL), set[str]()),
    ],
    ids=["in one publication", "with a gap", "in a publication that began meanwhile"],
)
async def test_a_device_is_missing_only_from_a_dump_that_was_heard_as_a_whole(
    publication: Publication, missing: set[str]
) -> None:
    one: Any = member()
    one._life._tasks = asyncio.TaskGroup()  # it is open
    one.dumps.begin()
    assert take_in(one, one.adapter, publication, None) is PublishAnswer.ACCEPT
    one.dumps.asked()
    assert one.dumps.echoed({DEVICE}, 0.0).missing == missing
    if one._restart is not None:
        one._restart.cancel()
