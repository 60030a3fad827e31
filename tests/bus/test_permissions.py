"""The permissions that docs/security.md gives are enough, and no more than needed for streams."""

import json
import re
from dataclasses import replace
from pathlib import Path

import nats
import pytest
from nats.errors import TimeoutError as NatsTimeoutError

from eventfed import EID, Credentials, DeviceState, Event, Federation
from eventfed_lab import NatsServer

A = EID.parse("02:00:00:00:00:0a")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def documented(direction: str) -> list[str]:
    """The list in the document, for federation pbx and site local."""
    block = re.search(rf"^ +{direction}: +((?:\S+\n *)+)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert block is not None
    subjects = [re.sub(r"\bF\b", "pbx", re.sub(r"\bS\b", "local", text)) for text in block[1].split()]
    return [text.replace("EVENTFED_F_S", "EVENTFED_pbx_local") for text in subjects if text != "subscribe:"]


@pytest.fixture
def permissions() -> str:
    publish, subscribe = documented("publish"), documented("subscribe")
    assert len(publish) == 5
    assert len(subscribe) == 4
    return json.dumps({"publish": publish, "subscribe": subscribe})


async def test_two_agents_get_along_with_the_documented_permissions(permissions, quick, until):
    configuration = f"""authorization {{ users: [
        {{user: maker, password: pw}}, {{user: agent, password: pw, permissions: {permissions}}}
    ] }}"""
    restricted = {"settings": replace(quick, create_stream=False), "credentials": Credentials("agent", "pw")}
    async with NatsServer(configuration=configuration) as server:
        maker = {"settings": quick, "credentials": Credentials("maker", "pw")}
        async with Federation.connect(server.url, federation="pbx", agent="maker", **maker) as client:
            assert await client.wait_synced(5)
        async with (
            Federation.connect(server.url, federation="pbx", agent="a", **restricted) as a,
            Federation.connect(server.url, federation="pbx", agent="b", **restricted) as b,
        ):
            assert await a.wait_synced(5), a.problem
            assert await b.wait_synced(5), b.problem
            asked = []
            a.on_refresh(asked.append)
            a.claim(A, uid="u", name="a")
            event = Event.device("PJSIP/1001", DeviceState.INUSE, A)
            a.publish(event)
            await until(lambda: (seen := b.get(event.state_key)) is not None and seen.same_value(event))
            await b.request_refresh()
            await b.request_refresh(A)
            await until(lambda: asked == [None, A])
            a.publish_event(Event.device("Local/1@x", DeviceState.INUSE, A, cachable=False))
            assert a.problem is None
            assert b.problem is None
        client = await nats.connect(server.url, user="agent", password="pw", error_cb=_silent)
        try:
            with pytest.raises(NatsTimeoutError):
                await client.request("$JS.API.STREAM.DELETE.EVENTFED_pbx_local", b"", timeout=0.5)
        finally:
            await client.close()


async def _silent(error: Exception) -> None:
    """The refusal is what is wanted."""
