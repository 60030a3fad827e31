"""``eventfed mailbox forget`` against a real nats-server."""

import asyncio
import re

from typer.testing import CliRunner

from eventfed import Event, Federation, StateKey
from eventfed_cli._app import app
from eventfed_lab import NatsServer
from tests.ground.cli_commands import QUICK, A, B, Command, agent, until

BOX_A, BOX_B = (Event.mailbox("1001@default", 0, 0, eid).state_key for eid in (A, B))


async def test_an_owner_is_askeduntil_it_has_forgotten_a_mailbox(eventfed: Command, federation: Federation) -> None:
    """The first request finds the owner busy, as an agent is whose server dumps; there is no answer but the stream."""
    asked: list[StateKey] = []

    def forget(key: StateKey) -> None:
        asked.append(key)
        if len(asked) == 2:
            federation.retract(key)

    federation.requests.on_forget(forget)
    outcome = await eventfed(f"mailbox forget 1001@default --eid {A} --config agent.toml")
    assert (outcome.code, outcome.stderr) == (0, ""), outcome
    assert outcome.stdout.splitlines() == [
        f"forgot 1001@default of pbx-a ({A}): it said 2 new, 1 old",
        "all servers together: 1 new, 0 old (sum)",
    ]
    assert asked == [BOX_A, BOX_A]
    assert federation.get(BOX_A) is None
    again = await eventfed(f"mailbox forget 1001@default --eid {A} --config agent.toml")
    assert (again.code, again.stdout) == (1, "")
    assert f"{A} says nothing of 1001@default (servers that do: {B})" in again.stderr
    federation.publish(Event.mailbox("1001@default", 5, 0, A))
    await until(lambda: federation.get(BOX_A) is not None)


async def test_what_was_forgotten_is_told_as_json_as_well(eventfed: Command, federation: Federation) -> None:
    federation.requests.on_forget(federation.retract)
    document = (await eventfed(f"mailbox forget 1001@default --eid {A} --config agent.toml --json")).json
    assert [server.pop("time") for server in document["servers"]] == [None]
    assert document == {
        "name": "1001@default",
        "eid": str(A),
        "member": "pbx-a",
        "agent": "node-1",
        "forgot": {"new": 2, "old": 1},
        "aggregate": {"new": 1, "old": 0, "by": "sum"},
        "servers": [{"type": "mwi", "name": "1001@default", "eid": str(B), "member": "pbx-b", "new": 1, "old": 0}],
    }
    last = (await eventfed(f"mailbox forget 1001@default --eid {B} --config agent.toml --json")).json
    assert (last["aggregate"], last["servers"]) == ({"new": 0, "old": 0, "by": "sum"}, [])


async def test_an_owner_that_does_not_forget_is_told_of(eventfed: Command, federation: Federation) -> None:
    outcome = await eventfed(f"mailbox forget 1001@default --eid {A} --config agent.toml --timeout 1.5")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "agent node-1 has not forgotten 1001@default within 1.5 s" in outcome.stderr
    assert federation.get(BOX_A) is not None


async def test_a_mailbox_of_a_server_that_is_gone_for_good_is_forgotten_without_an_owner(
    eventfed: Command, nats_server: NatsServer
) -> None:
    """Mailboxes of departed servers are kept (``mailboxes = "Keep"``): nothing else ever removes them."""
    async with agent(nats_server, A) as departing:
        departing.publish(Event.mailbox("1001@default", 2, 1, A))
        assert await departing.flush(5)
    async with agent(nats_server, B, name="node-2") as reader:
        await until(lambda: reader.get(BOX_A) is not None and A not in reader.view.leases)
        await asyncio.sleep(QUICK.grace_period + 1)
        assert reader.get(BOX_A) is not None
        outcome = await eventfed(f"mailbox forget 1001@default --eid {A} --config agent.toml")
        assert (outcome.code, outcome.stderr) == (0, ""), outcome
        assert outcome.stdout.splitlines() == [
            f"forgot 1001@default of {A}, which no agent serves: it said 2 new, 1 old",
            "all servers together: nothing, no other server says anything of it",
        ]
        await until(lambda: reader.get(BOX_A) is None)
        await asyncio.sleep(QUICK.grace_period + 1)
        assert reader.get(BOX_A) is None, "no deputy puts it back"


async def test_the_examples_of_mailbox_forget_run(eventfed: Command, federation: Federation) -> None:
    federation.requests.on_forget(federation.retract)
    help_text = CliRunner().invoke(app, ["mailbox", "forget", "--help"]).stdout
    examples = re.findall(r"^ *\$ eventfed (.*)$", help_text, re.M)
    assert examples
    for example in examples:
        federation.publish(Event.mailbox("1001@default", 2, 1, A))
        assert await federation.flush(5)
        assert (await eventfed(example)).code == 0
