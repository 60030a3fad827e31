"""Every place that waits and goes on stands in a table: with its pace, or with the reason why it is no retry."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
WINGS = ("agent/eventfed_agent", "operator/eventfed_operator", "events/eventfed", "cli/eventfed_cli")
OPTIONS = ("reconnect", "backoff", "retries", "attempts", "max_retry")
"""Parts of the names of what a library takes as an option of its own retries."""
PACED_BY = {"until_due", "turn", "failed", "rest", "left"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Retry(NamedTuple):
    """It is tried again, and waits for a `Backoff` or its `Turns`: called here, or in the function that is named."""

    what: str
    within: str = ""


class Period(NamedTuple):
    """It asks at a period that both sides agreed on, which no failure makes shorter."""

    what: str


class Other(NamedTuple):
    """It is no retry."""

    why: str


QUEUE = Other("takes from a queue, and waits for what is put there")
WAITS = Other("waits for a state of this process, and asks nobody")
ONCE = Other("goes through a list once")
TABLE: dict[str, Retry | Period | Other] = {
    "eventfed_agent.agent.Agent.__aenter__": ONCE,
    "eventfed_agent.agent.Agent._follow_rosters": QUEUE,
    "eventfed_agent.agent.Agent._keep_up": Retry("rosters and reports, after one of them failed"),
    "eventfed_agent.agent.Agent.answers": ONCE,
    "eventfed_agent.membership.Membership._start": Retry("a member whose task failed", "Membership._serve"),
    "eventfed_agent.membership.Membership.stop": ONCE,
    "eventfed_agent.members.dump_rounds.DumpRounds._round": Other("waits for what the member sends by itself"),
    "eventfed_agent.members.dump_rounds.DumpRounds._returns": Other("waits for what the member sends by itself"),
    "eventfed_agent.members.dump_rounds.DumpRounds.run": Retry("dumps of a member", "DumpRounds._ask"),
    "eventfed_agent.members.dumps.Dumps.__init__": Retry("dumps of a member", "Dumps._again"),
    "eventfed_agent.members.contest.Contest.__init__": Retry("a rival is asked", "Contest._settle"),
    "eventfed_agent.members.contest.Contest._settle": Retry("a rival is asked"),
    "eventfed_agent.members.contest.Contest._rival_answers": Other(
        "three questions make one attempt of _settle, each with the time that an answer may take"
    ),
    "eventfed_agent.members.contest.Contest.run": QUEUE,
    "eventfed_agent.members.injection.Injector._delay": Other("a mailbox that Asterisk polls has a pause of a minute"),
    "eventfed_agent.members.injection.Injector._drain": Retry("injections into a member"),
    "eventfed_agent.members.injection.Injector.wait_idle": WAITS,
    "eventfed_agent.members.lanes.Lane.wait": QUEUE,
    "eventfed_agent.members.liveness.Liveness.run": Period("OPTIONS each keep_alive"),
    "eventfed_agent.members.member.Member.lost_touch": Other("a change of state is told after its time"),
    "eventfed_agent.members.member.Member._watch_silence": WAITS,
    "eventfed_agent.pjsip.adapter.PjsipAdapter._publish": Other("each secret once, while one is being replaced"),
    "eventfed_agent.pjsip.deferred_answers.MailboxAnswers._time_is_up": Other("an answer that is due"),
    "eventfed_agent.pjsip.deferred_answers.MailboxAnswers.answer": Other("an answer that is due"),
    "eventfed_agent.members.intrusions.IntrusionWatch.suspect": Other("a suspicion ends"),
    "eventfed_agent.pjsip.sip._connections.Connections.close": ONCE,
    "eventfed_agent.pjsip.sip._publisher.Publisher._run": Other(
        "a 412 has one request follow, as RFC 3903 4.1 says: OutboundPublication counts it"
    ),
    "eventfed_agent.pjsip.sip._sockets.Sockets._listen": Other("tries other ports, each once, at the start"),
    "eventfed_agent.pjsip.sip._sockets.Sockets.listen": ONCE,
    "eventfed_agent.pjsip.sip._alarm.Alarm.set": Other(
        "an idle connection is closed; retransmissions, whose pauses RFC 3261 17.1.2.2 says (timer E)"
    ),
    "eventfed_agent.process.handover.hand_over": Retry("members are made to speak to the next agent"),
    "eventfed_agent.process.run._until_stopped": Other("looks at its own files"),
    "eventfed_agent.reporting.report_repeatedly": Period("a report each 5 s, or what changed, once a second"),
    "eventfed_operator._kubernetes_client.KubernetesClient.list": Other("the pages of one list"),
    "eventfed_operator.api_pace.ApiPace.__init__": Retry("all that the API server is asked", "ApiPace.turn"),
    "eventfed_operator.api_pace.ApiPace.of_watch": Retry(
        "kopf's watches", "eventfed_operator.kopf_login._Paced.__call__"
    ),
    "eventfed_operator.election.Election.keep": Period("the Lease is renewed"),
    "eventfed_operator.election.Election.win": Period("the Lease is looked at: it tells nobody that it is free"),
    "eventfed_operator.federation_bus._tell_of_sessions": WAITS,
    "eventfed_operator.kopf_login.Login.__init__": Retry("kopf logs in", "Login.log_in"),
    "eventfed_operator.kopf_login.Pauses.__iter__": Retry("kopf's requests"),
    "eventfed_operator.manager.Manager._audit_repeatedly": Period("all EventFederations are listed at each resync"),
    "eventfed_operator.manager.Manager._run_reconciler": Retry("a reconciler that failed"),
    "eventfed_operator.manager.Manager.run": QUEUE,
    "eventfed_operator.pod_watch.PodWatch._follow": Retry("a watch of pods that ended"),
    "eventfed_operator.pod_watch.PodWatch.run": Retry("a watch of pods that failed"),
    "eventfed_operator.reconciler.BusLink.run": QUEUE,
    "eventfed_operator.reconciler.Reconciler._reconcile_once": Other("what one look has decided, each once"),
    "eventfed_operator.reconciler.Reconciler._reconcile_repeatedly": Retry("a look that failed"),
    "eventfed_operator.reconciler.Reconciler._rivals": ONCE,
    "eventfed_operator.reconciler.Reconciler._sleep": WAITS,
    "eventfed_operator.reconciler.Reconciler.run": Retry("an EventFederation that cannot be read"),
    "eventfed_operator.watch._cancel_all": WAITS,
    "eventfed_operator.watch._watch_once": WAITS,
    "eventfed_operator.watch.kopf_registry": Retry("kopf logs in", "eventfed_operator.kopf_login.Login.log_in"),
    "eventfed_operator.watch.kopf_settings": Retry("kopf's requests", "eventfed_operator.kopf_login._Paced.__call__"),
    "eventfed_operator.watch.watch": Retry("kopf ended"),
    "eventfed.core.claims.Claim.__init__": Retry("a lease that NATS refuses on its condition", "Claim._may_write"),
    "eventfed.core.upkeep.Renewals.turn": Other("gives a few own states at each tick"),
    "eventfed.core.outbox.Outbox.__init__": Retry("what NATS refused", "Outbox.answer"),
    "eventfed.core.outbox.Outbox.give_up_all": Retry("what NATS refused", "Outbox.answer"),
    "eventfed.core.tombstone_memory.TombstoneMemory.old": Other("gives what is old enough, each once"),
    "eventfed.core.watch.watch": QUEUE,
    "eventfed.jetstream.bus.JetStreamBus.run.session": ONCE,
    "eventfed.federation.Federation._tick_until_cancelled": Other(
        "lets the time pass in the cores, which have their paces"
    ),
    "eventfed.federation.Federation.flush": WAITS,
    "eventfed.federation.Federation.wait_synced": WAITS,
    "eventfed.jetstream.connection.Client._process_msg": Other("gives its turn to other tasks"),
    "eventfed.jetstream.connection.open_connection": Retry(
        "nats-py's own reconnection is off", "eventfed.jetstream.link.Link.run"
    ),
    "eventfed.jetstream.link.Link.__init__": Retry("connections to NATS", "Link.run"),
    "eventfed.jetstream.link.Link.run": Retry("connections to NATS"),
    "eventfed.jetstream.publisher.StreamPublisher._wait": WAITS,
    "eventfed.jetstream.publisher.StreamPublisher.run": QUEUE,
    "eventfed.jetstream.reader.Reader.__init__": Retry("consumers", "Reader.run"),
    "eventfed.jetstream.reader.Reader._follow": WAITS,
    "eventfed.jetstream.reader.Reader.run": Retry("consumers"),
    "eventfed.pace.Turns.__init__": Retry("what the turns are for", "Turns.turn"),
    "eventfed.pace.until_due": Retry("the wait of all retries"),
    "eventfed_cli._doctor_probes.Prober._with_secret": Other("each secret once"),
    "eventfed_cli._doctor_probes.Prober._without_secret": Other("each of two questions once"),
    "eventfed_cli._forgetting._take_back": WAITS,
    "eventfed_cli._forgetting._take_back.ask": Retry("an owner is asked to forget a mailbox"),
    "eventfed_cli._publishing._hold": WAITS,
    "eventfed_cli._publishing._wait_held": WAITS,
    "eventfed_cli._queries._watch_live": Other("draws what came together"),
    "eventfed_cli._queries.refresh.run": Other("time for one message to leave"),
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])


def own(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, but not in those within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child
            yield from own(child)


def functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}.{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, child
            yield from functions(child, name)
        else:
            yield from functions(child, prefix)


def waits(loop: ast.While | ast.For) -> bool:
    """Whether it gives its turn away: a `for` that yields is the generator of a list."""
    kinds = (ast.Await, ast.AsyncWith, ast.AsyncFor, *((ast.Yield,) if isinstance(loop, ast.While) else ()))
    return any(isinstance(one, kinds) for one in own(loop))


def signs(function: Function) -> list[str]:
    """By what a function may be a retry: loops that wait, sleeps, timers, backoffs, options of libraries."""
    found: list[str] = []
    for node in own(function):
        match node:
            case ast.While() | ast.For() if waits(node):
                found.append(f"line {node.lineno}: a loop that waits")
            case ast.Call(func=ast.Attribute(attr="call_later" | "call_at" | "sleep")):
                found.append(f"line {node.lineno}: {ast.unparse(node.func)}")
            case ast.Call(func=ast.Name(id="Backoff" | "Turns")):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Call):
            named = [keyword.arg or "" for keyword in node.keywords if not ast.unparse(node.func).startswith("cls")]
            found += [f"line {node.lineno}: {name}=" for name in named if any(one in name for one in OPTIONS)]
        if isinstance(node, ast.Assign):
            attributes = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
            found += [f"line {node.lineno}: .{name} =" for name in attributes if any(one in name for one in OPTIONS)]
    return found


SOURCES = [path for wing in WINGS for path in sorted((ROOT / wing).rglob("*.py"))]
FUNCTIONS = {
    name: function
    for path in SOURCES
    for name, function in functions(ast.parse(path.read_text()), module_of(path).removesuffix(".__init__"))
}
FOUND = {name: found for name, function in FUNCTIONS.items() if (found := signs(function))}


def test_every_loop_that_waits_stands_in_the_table() -> None:
    unknown = {name: found for name, found in FOUND.items() if name not in TABLE}
    assert not unknown, "give each a Backoff and a row of the table, or say there why it is no retry"
    assert not TABLE.keys() - FOUND.keys(), "these are no more: delete their rows"


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if isinstance(row, Retry)])
def test_a_retry_waits_for_its_pace(name: str) -> None:
    row = TABLE[name]
    assert isinstance(row, Retry)
    place = row.within or name
    # A place within the module is named without it.
    module = next(module for module in map(module_of, SOURCES) if name.startswith(module + "."))
    function = FUNCTIONS.get(place) or FUNCTIONS[f"{module}.{place}"]
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        for node in own(function)
        if isinstance(node, ast.Call)
    }
    assert called & PACED_BY, f"{place} waits for no Backoff"


@pytest.mark.parametrize("name", [name for name, found in FOUND.items() if any("Backoff(" in one for one in found)])
def test_the_pauses_of_a_retry_grow_to_a_second_at_least(name: str) -> None:
    module = importlib.import_module(next(one for one in map(module_of, SOURCES) if name.startswith(one + ".")))
    for node in own(FUNCTIONS[name]):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "Backoff"):
            continue
        if not all(isinstance(one, ast.Name) and hasattr(module, one.id) for one in node.args):
            continue  # from settings, whose defaults the next test looks at
        floor, limit = (getattr(module, ast.unparse(one)) for one in node.args)
        assert 0.1 <= floor < limit, (name, floor, limit)
        assert limit >= 1, (name, limit)


def test_the_settings_of_retries_grow_to_a_second_at_least() -> None:
    from eventfed import FederationSettings

    settings = FederationSettings()
    for floor, limit in (
        (settings.retry_pause, settings.retry_pause_limit),
        (settings.reconnect_pause, settings.reconnect_pause_limit),
    ):
        assert floor >= 0.1
        assert limit >= 1


@pytest.mark.parametrize(
    "code",
    [
        "async def f():\n    while True:\n        await ask()",
        "async def f():\n    while not done:\n        async with asyncio.timeout(1):\n            pass",
        "async def f():\n    for _ in range(9):\n        await ask()",
        "async def f():\n    await asyncio.sleep(1)",
        "def f():\n    time.sleep(1)",
        "def f():\n    loop.call_later(1, f)",
        "def f():\n    connect(max_reconnect_attempts=-1)",
        "def f():\n    settings.reconnect_backoff = 0",
    ],
)
def test_a_new_loop_is_found(code: str) -> None:
    assert signs(next(function for _, function in functions(ast.parse(code), "module")))
