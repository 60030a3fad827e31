"""The configuration file of a running agent changes: what no longer crosses is taken back, what does again returns.

A has one message, B two. Each of the two has a device of its own, a phone that only it knows, and a part in one that
both announce.
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from eventfed import DeviceState
from eventfed_lab import SHORT_TIMES, AsteriskConfiguration, AsteriskRoot, Pbx
from tests.ground.fixture_types import Measure

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP, BESIDE = "1001@default", "1001@eventfed"
MWI: Mapping[str, object] = {"type": "mwi", "voicemail_storage": "Separate"}
DEVICES: Mapping[str, object] = {"type": "device_state"}
OF_A, OF_B, OF_BOTH = "Custom:of-a", "Custom:of-b", "Custom:of-both"
PHONE_OF_A, PHONE_OF_B = "PJSIP/phone-a", "PJSIP/phone-b"


@dataclass(frozen=True)
class Shown:
    """What one server shows."""

    of_a: DeviceState = DeviceState.BUSY
    of_b: DeviceState = DeviceState.ONHOLD
    both: DeviceState = DeviceState.RINGINUSE
    phone_a: DeviceState = DeviceState.UNAVAILABLE
    phone_b: DeviceState = DeviceState.UNAVAILABLE
    lamp: tuple[int, int] = (3, 0)
    beside: tuple[int, int] = (0, 0)


ALL = Shown()
ALONE = {
    "a": replace(ALL, of_b=DeviceState.UNKNOWN, phone_b=DeviceState.INVALID, both=DeviceState.INUSE, lamp=(1, 0)),
    "b": replace(ALL, of_a=DeviceState.UNKNOWN, phone_a=DeviceState.INVALID, both=DeviceState.RINGING, lamp=(2, 0)),
}
WITHOUT_A = {"b": ALONE["b"], "c": ALONE["b"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    common = AsteriskConfiguration(watched_mailboxes=(BESIDE,))
    own = {name: replace(common, phones={**common.phones, f"phone-{name}": "1002@default"}) for name in ("a", "b")}
    sections = {"departure": {**SHORT_TIMES["departure"], "mailboxes": "Remove"}}
    async with Pbx(
        asterisk_root, configuration=common, configurations=own, events=[MWI, DEVICES], sections=sections
    ) as pbx:
        await pbx["a"].set_device(OF_A, DeviceState.BUSY)
        await pbx["b"].set_device(OF_B, DeviceState.ONHOLD)
        await pbx["a"].set_device(OF_BOTH, DeviceState.INUSE)
        await pbx["b"].set_device(OF_BOTH, DeviceState.RINGING)
        await pbx["a"].leave_voicemail(LAMP, 1, by="spool")
        await pbx["b"].leave_voicemail(LAMP, 2, by="spool")
        yield pbx


async def shown(pbx: Pbx, name: str) -> Shown:
    server = pbx[name]
    return Shown(
        of_a=await server.device_state(OF_A),
        of_b=await server.device_state(OF_B),
        both=await server.device_state(OF_BOTH),
        phone_a=await server.device_state(PHONE_OF_A),
        phone_b=await server.device_state(PHONE_OF_B),
        lamp=await server.mailbox_counts(LAMP),
        beside=await server.mailbox_counts(BESIDE),
    )


async def wait_shown(pbx: Pbx, expected: Mapping[str, Shown], within: float = 20.0) -> float:
    """Wait until the servers show this; seconds it took."""
    began = time.monotonic()
    while (seen := {name: await shown(pbx, name) for name in expected}) != expected:
        assert time.monotonic() < began + within, seen
    return time.monotonic() - began


def configure(pbx: Pbx, *names: str, events: list[Mapping[str, object]]) -> None:
    for name in names:
        pbx.agents[name].events = events
        pbx.agents[name].write()


@asynccontextmanager
async def changed(pbx: Pbx, *names: str, events: list[Mapping[str, object]]) -> AsyncIterator[None]:
    """The agents of the named servers have other ``[[events]]``; afterwards all is as it was."""
    everything = dict.fromkeys(pbx.names, ALL)
    await wait_shown(pbx, everything)
    configure(pbx, *names, events=events)
    yield
    configure(pbx, *names, events=[MWI, DEVICES])
    await wait_shown(pbx, everything)


async def test_a_server_taken_out_has_its_own_view_and_its_states_leave_the_others(pbx: Pbx, measure: Measure) -> None:
    agent, a = pbx.agents["a"], pbx.asterisk("a")
    everything = dict.fromkeys(pbx.names, ALL)
    await wait_shown(pbx, everything)
    agent.members = []
    agent.write()
    measure("A taken out of the file, until it has its own view", await wait_shown(pbx, {"a": ALONE["a"]}))
    grace = float(str(SHORT_TIMES["departure"]["grace_period"]))
    measure(f"A taken out, until B and C dropped its states (grace {grace:g} s)", await wait_shown(pbx, WITHOUT_A))
    await a.set_device(OF_A, DeviceState.RINGING)
    await pbx["b"].set_device("Custom:barrier", DeviceState.BUSY)
    await pbx["c"].wait_device("Custom:barrier", DeviceState.BUSY)
    assert await shown(pbx, "b") == ALONE["b"]
    assert await a.device_state("Custom:barrier") == DeviceState.UNKNOWN
    await a.set_device(OF_A, DeviceState.BUSY)
    agent.members = [a]
    agent.write()
    measure("A put back into the file, until all show everything", await wait_shown(pbx, everything))
    await a.wait_device("Custom:barrier", DeviceState.BUSY)


async def test_a_server_taken_out_does_not_move_what_the_others_have_of_each_other(pbx: Pbx) -> None:
    agent, a = pbx.agents["a"], pbx.asterisk("a")
    await wait_shown(pbx, dict.fromkeys(pbx.names, ALL))
    with pbx.asterisk("c").ami.events("DeviceStateChange") as events:
        agent.members = []
        agent.write()
        await wait_shown(pbx, WITHOUT_A)
        agent.members = [a]
        agent.write()
        await wait_shown(pbx, dict.fromkeys(pbx.names, ALL))
        moved = {event["Device"] for _, event in events.drain()}
    assert OF_A in moved
    assert OF_B not in moved


async def test_a_name_taken_out_is_withdrawn_in_both_directions_and_no_other(pbx: Pbx) -> None:
    excluded = {**DEVICES, "exclude": ["^Custom:of-[ab]$"]}
    with pbx.asterisk("c").ami.events("DeviceStateChange") as events:
        async with changed(pbx, "a", events=[MWI, excluded]):
            await wait_shown(
                pbx,
                {
                    "a": replace(ALL, of_b=DeviceState.UNKNOWN),
                    "b": replace(ALL, of_a=DeviceState.UNKNOWN),
                    "c": replace(ALL, of_a=DeviceState.UNKNOWN),
                },
            )
        assert {event["Device"] for _, event in events.drain()} == {OF_A}


async def test_a_mailbox_taken_out_gives_each_server_its_own_counts_back(pbx: Pbx) -> None:
    excluded = {**MWI, "exclude": ["^1001@"]}
    async with changed(pbx, *pbx.names, events=[excluded, DEVICES]):
        await wait_shown(
            pbx,
            {
                "a": replace(ALL, lamp=(1, 0)),
                "b": replace(ALL, lamp=(2, 0)),
                "c": replace(ALL, lamp=(0, 0)),
            },
        )


async def test_an_event_type_taken_out_on_one_server(pbx: Pbx) -> None:
    async with changed(pbx, "a", events=[DEVICES]):
        await wait_shown(
            pbx,
            {
                "a": replace(ALL, lamp=(1, 0)),
                "b": replace(ALL, lamp=(2, 0)),
                "c": replace(ALL, lamp=(2, 0)),
            },
        )
    async with changed(pbx, "a", events=[MWI]):
        await wait_shown(
            pbx,
            {name: replace(alone, lamp=ALL.lamp) for name, alone in {"a": ALONE["a"], **WITHOUT_A}.items()},
        )


async def test_one_direction_alone(pbx: Pbx) -> None:
    async with changed(pbx, "a", events=[{**MWI, "subscribe": False}, {**DEVICES, "subscribe": False}]):
        await wait_shown(pbx, {"a": ALONE["a"], "b": ALL, "c": ALL})
    async with changed(pbx, "a", events=[{**MWI, "publish": False}, {**DEVICES, "publish": False}]):
        await wait_shown(pbx, {"a": ALL, **WITHOUT_A})


async def test_the_sum_moves_beside_the_mailbox_and_back(pbx: Pbx) -> None:
    async with changed(pbx, *pbx.names, events=[{**MWI, "injection": "Beside"}, DEVICES]):
        await wait_shown(
            pbx,
            {
                "a": replace(ALL, lamp=(1, 0), beside=(2, 0)),
                "b": replace(ALL, lamp=(2, 0), beside=(1, 0)),
                "c": replace(ALL, lamp=(0, 0), beside=(3, 0)),
            },
        )


async def test_voicemail_storage_changes_from_sum_to_latest_news_and_back(pbx: Pbx) -> None:
    async with changed(pbx, *pbx.names, events=[{**MWI, "voicemail_storage": "Shared"}, DEVICES]):
        # Which of three different spools is right nobody can say, but all show the same one's counts.
        began = time.monotonic()
        while len(lamps := {(await shown(pbx, name)).lamp for name in pbx.names}) > 1 or ALL.lamp in lamps:
            assert time.monotonic() < began + 20, lamps
        assert lamps <= {(1, 0), (2, 0), (0, 0)}
        await pbx["a"].leave_voicemail(LAMP, 3, by="spool")
        await wait_shown(pbx, dict.fromkeys(pbx.names, replace(ALL, lamp=(4, 0))))
        await pbx["c"].leave_voicemail(LAMP, 5, by="spool")
        await wait_shown(pbx, dict.fromkeys(pbx.names, replace(ALL, lamp=(5, 0))))
        await pbx["c"].delete_voicemail(LAMP)
        await wait_shown(pbx, dict.fromkeys(pbx.names, replace(ALL, lamp=(0, 0))))
        pbx.asterisk("a").spool.clear(LAMP)
        await pbx["a"].leave_voicemail(LAMP, 1, by="spool")
        await wait_shown(pbx, dict.fromkeys(pbx.names, replace(ALL, lamp=(1, 0))))


async def test_a_server_that_hung_for_longer_than_the_grace_has_its_mailboxes_counted_again(pbx: Pbx) -> None:
    """A dump leaves out the mailbox, since the others' counts are in its slot."""
    await wait_shown(pbx, dict.fromkeys(pbx.names, ALL))
    pbx.asterisk("a").hang()
    try:
        await wait_shown(pbx, WITHOUT_A)
    finally:
        pbx.asterisk("a").resume()
    await wait_shown(pbx, dict.fromkeys(pbx.names, ALL))
