"""Names that Asterisk writes in its own way, on real servers: rooms, other drivers, long names."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventfed import DeviceState, Federation
from eventfed_lab import AsteriskConfiguration, AsteriskRoot, Pbx

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = "confbridge:4000"
FITTING, LONG = (f"Custom:{letter * (size - 7)}" for letter, size in (("f", 79), ("l", 80)))
HINTS = {"4000": ROOM, "2000": "Custom:lamp1", "7079": FITTING, "7080": LONG}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, ("a", "b"), configuration=AsteriskConfiguration(hints=HINTS)) as pbx:
        yield pbx


async def test_a_conference_room_in_use_on_a_is_seen_on_b(pbx: Pbx) -> None:
    """Asterisk announces ``confbridge:4000`` in small letters (``apps/app_confbridge.c``)."""
    a, b = pbx.asterisk("a"), pbx.asterisk("b")
    await a.ami.originate("Local/talk@lab/n", Application="ConfBridge", Data="4000")
    await a.wait_device(ROOM, DeviceState.INUSE)
    await b.wait_device(ROOM, DeviceState.INUSE)
    assert await b.hint("4000") == "InUse"
    await a.ami.action("Hangup", Channel="/^Local/talk@lab-.*$/")
    await b.wait_device(ROOM, DeviceState.NOT_INUSE)
    assert await b.hint("4000") == "Idle"


async def test_a_name_that_asterisk_cuts_matches_nothing_on_another_server_and_is_told_of(pbx: Pbx) -> None:
    """``char buf[AST_MAX_EXTENSION]`` of ``ast_devstate_changed`` (``main/devicestate.c``) has room for 79 bytes."""
    a, b, agent = pbx.asterisk("a"), pbx.asterisk("b"), pbx.agents["a"]
    await a.set_device(FITTING, DeviceState.INUSE)
    await b.wait_device(FITTING, DeviceState.INUSE)
    assert await b.hint("7079") == "InUse"
    for _ in range(3):
        await a.set_device(LONG, DeviceState.INUSE)
        await a.set_device(LONG, DeviceState.BUSY)
    await b.wait_device(LONG[:79], DeviceState.BUSY)
    assert (await a.hint("7080"), await b.hint("7080")) == ("Busy", "Idle")
    told = [line for line in agent.log.splitlines() if "name_probably_cut" in line]
    assert [LONG[:79] in line for line in sorted(told)].count(True) == 1, told
    assert len(told) == 2, "once a name"
    assert await agent.metric("eventfed_cut_names") == 2
    (member,) = await agent.member_list()
    assert member["cut_names"] == [FITTING, LONG[:79]]
    listing = (sys.executable, "-m", "eventfed_cli", "state", "get", LONG[:79])
    bus = ("--server", pbx.nats.url, "--federation", "lab")
    printed = await asyncio.create_subprocess_exec(*listing, *bus, stdout=asyncio.subprocess.PIPE)
    assert f"probably cut: {LONG[:79]} has 79 bytes" in (await printed.communicate())[0].decode()


async def test_what_include_names_leaves_the_server_with_the_snippet_of_its_agents_file(
    asterisk_root: AsteriskRoot,
) -> None:
    """``Queue:`` does not cross by default; with another case in ``include`` than Asterisk's it does."""
    events = [{"type": "device_state", "include": ["^queue:", "^CUSTOM:"], "exclude": ["_AVAIL$"]}]
    hints = AsteriskConfiguration(hints={"5000": "Queue:support"})
    async with Pbx(asterisk_root, ("a", "b"), events=events, configuration=hints) as pbx:
        a, b, agent = pbx.asterisk("a"), pbx.asterisk("b"), pbx.agents["a"]
        command = (sys.executable, "-m", "eventfed_cli", "asterisk-config", "--config", str(agent.file))
        printed = await asyncio.create_subprocess_exec(*command, "--member", "a", stdout=asyncio.subprocess.PIPE)
        assert (await printed.communicate())[0].decode() == a.configuration.pjsip_snippet
        await a.ami.originate("Local/talk@lab/n", Application="Queue", Data="support,n")
        await a.wait_device("Queue:support", DeviceState.RINGING)
        await b.wait_device("Queue:support", DeviceState.RINGING)
        assert await b.hint("5000") == "Ringing"
        async with Federation.connect(pbx.nats.url, federation="lab", agent="test") as federation:
            assert await federation.wait_synced(5)
            crossed = {key.key for key in federation.view.states if key.eid == a.eid}
        assert "Queue:support" in crossed
        assert not [name for name in crossed if name.startswith("PJSIP/") or name.endswith("_avail")]
        await a.ami.action("Hangup", Channel="/^Local/talk@lab-.*$/")
        await b.wait_device("Queue:support", DeviceState.NOT_INUSE)
