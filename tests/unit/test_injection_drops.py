"""One name of which no message can be made: it is dropped, and all others go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from eventfed import EID, MAX_NAME, DeviceState, Event, EventType, StateKey, View
from eventfed.spec import EventSpec, Injection, VoicemailStorage
from eventfed_agent.adapter import AdapterOutcome, Delivery
from eventfed_agent.event_log import EventLog
from eventfed_agent.members.foreign_states import Item
from eventfed_agent.members.injection import Injector, tell_dropped
from eventfed_agent.members.mailboxes import beside_mailbox
from tests.ground.injections import Beneficiary, injector_of

OWN, OTHER, FEDERATION = (EID.parse(f"02:00:00:00:00:0{digit}") for digit in "abf")
SEPARATE = VoicemailStorage.SEPARATE
LONG = "1001@" + "x" * (MAX_NAME - 5)
"""A mailbox of which the name that stands beside it is too long."""


class Server:
    """An adapter with one lane, which cannot send what holds `bad` and is refused what holds `unread`."""

    lanes = 1

    def __init__(self) -> None:
        self.taken: list[str] = []

    def lane_of(self, kind: EventType, key: str) -> int:
        return 0

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        await asyncio.sleep(0)
        if "bad" in event.key:
            raise ValueError("nobody can send this")
        if "unread" in event.key:
            return AdapterOutcome(Delivery.REFUSED, "500", unreadable=True)
        self.taken.append(event.key)
        return AdapterOutcome(Delivery.ACCEPTED, "200")


@asynccontextmanager
async def injecting(server: Server, *events: Event, dropped: list[Any]) -> AsyncIterator[Injector]:
    view = View()
    for number, event in enumerate(events):
        view.put_state(event.state_key, event, number + 1)
    mailboxes = EventSpec(type="mwi", voicemail_storage=SEPARATE, injection=Injection.BESIDE)
    injector = injector_of(
        view,
        server,
        [EventSpec(type="device_state"), mailboxes],
        own=OWN,
        federation=FEDERATION,
        injection=Injection.BESIDE,
        host=Beneficiary(lambda item, why: dropped.append((item, why))),
    )
    task = asyncio.create_task(injector.run())
    yield injector
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


def lamp(name: str) -> Event:
    return Event.device(f"Custom:{name}", DeviceState.BUSY, OTHER)


@pytest.mark.parametrize(
    ("one", "item", "why"),
    [
        (Event.mailbox(LONG, 1, 0, OTHER), (EventType.MWI, None, LONG), "longer than 256 bytes"),
        (lamp("bad"), (EventType.DEVICE_STATE_CHANGE, OTHER, "Custom:bad"), "ValueError: nobody can send this"),
    ],
    ids=["no event", "no message"],
)
async def test_what_cannot_be_built_is_counted_told_and_dropped_and_the_lane_goes_on(
    one: Event, item: Item, why: str
) -> None:
    server, dropped = Server(), list[Any]()
    others = [lamp("first"), lamp("second"), Event.mailbox("1001@default", 1, 0, OTHER)]
    async with injecting(server, others[0], one, *others[1:], dropped=dropped) as injector:
        async with asyncio.timeout(5):
            await injector.wait_idle()
        assert sorted(server.taken) == ["1001@eventfed", "Custom:first", "Custom:second"]
        assert [one for one, _ in dropped] == [item]
        assert why in dropped[0][1]
        assert injector.counters.unbuildable == 1
        assert injector.idle


async def test_what_the_server_cannot_read_is_told_when_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventfed_agent.members.turns._FLOOR", 0.01)
    server, dropped = Server(), list[Any]()
    async with injecting(server, lamp("unread"), lamp("first"), dropped=dropped) as injector:
        async with asyncio.timeout(5):
            await injector.wait_idle()
        assert server.taken == ["Custom:first"]
        assert injector.counters.given_up == 1
    assert dropped == [((EventType.DEVICE_STATE_CHANGE, OTHER, "Custom:unread"), "the server cannot read it (500)")]


def test_it_is_told_once_for_each_server_that_it_comes_from() -> None:
    log = structlog.testing.CapturingLogger()
    event_log = EventLog(log)
    for number in range(5):
        for eid in (OTHER, FEDERATION, None):
            kind = EventType.MWI if eid is None else EventType.DEVICE_STATE_CHANGE
            tell_dropped(event_log, "a", (kind, eid, f"name {number}"), "no reason")
    assert len(log.calls) == 3
    assert event_log.warnings["injection_dropped"] == 15


def test_the_name_beside_a_mailbox_may_be_too_long() -> None:
    assert len(StateKey(EventType.MWI, OTHER, LONG).key.encode()) == MAX_NAME
    assert len(beside_mailbox(LONG).encode()) > MAX_NAME
