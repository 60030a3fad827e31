"""Device states that Asterisk tells once and does not keep (``Local/``) cross only where the user names them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventfed import DeviceState
from eventfed_lab import AmiMessage, AsteriskRoot, AsteriskServer, Pbx

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = [{"type": "device_state", "include": ["^(PJSIP|Custom|Local)[/:]"], "exclude": ["^Local/speak@"]}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, ("a", "b"), events=EVENTS) as pbx:
        yield pbx


def told(message: AmiMessage) -> tuple[str, str]:
    return message["Device"], message["State"]


async def call(server: AsteriskServer, extension: str) -> None:
    """A call to ``Local/<extension>@lab`` that ends by itself at once."""
    await server.ami.originate(f"Local/{extension}@lab/n", Application="Wait", Data="0.1")


async def published(pbx: Pbx, name: str) -> float:
    return await pbx.agents[name].metric("eventfed_bus_total", name="events_sent")


async def test_a_local_channel_on_a_is_told_on_b_once_and_not_kept(pbx: Pbx) -> None:
    a, b = pbx.asterisk("a"), pbx.asterisk("b")
    before = await published(pbx, "b")
    with b.ami.events("DeviceStateChange") as events:
        await call(a, "talk")
        await events.wait_for(lambda event: told(event) == ("Local/talk@lab", "INUSE"))
    # B asks its own channel driver, which has no such call.
    assert await b.device_state("Local/talk@lab") == DeviceState.NOT_INUSE
    await a.set_device("Custom:after", DeviceState.BUSY)
    await b.wait_device("Custom:after", DeviceState.BUSY)
    assert await published(pbx, "a") > 0
    assert await published(pbx, "b") == before


async def test_a_server_is_not_given_its_own_events_back(pbx: Pbx) -> None:
    """Both directions at once: each agent hears all events, its own included."""
    with (
        pbx.asterisk("a").ami.events("DeviceStateChange") as on_a,
        pbx.asterisk("b").ami.events("DeviceStateChange") as on_b,
    ):
        given = {name: await pbx.agents[name].metric("eventfed_member_injected_total") for name in pbx.names}
        sent = {name: await published(pbx, name) for name in pbx.names}
        await call(pbx.asterisk("a"), "talk")
        await call(pbx.asterisk("b"), "listen")
        await on_b.wait_for(lambda event: told(event) == ("Local/talk@lab", "INUSE"))
        await on_a.wait_for(lambda event: told(event) == ("Local/listen@lab", "INUSE"))
    await pbx.wait_quiet()
    for name, other in (("a", "b"), ("b", "a")):
        came = await pbx.agents[name].metric("eventfed_member_injected_total") - given[name]
        assert 0 < came <= await published(pbx, other) - sent[other]


async def test_what_is_excluded_does_not_cross(pbx: Pbx) -> None:
    with pbx.asterisk("b").ami.events("DeviceStateChange") as events:
        await call(pbx.asterisk("a"), "speak")
        await call(pbx.asterisk("a"), "talk")
        await pbx.wait_quiet()
        assert {event["Device"] for _, event in events.drain()} == {"Local/talk@lab"}
