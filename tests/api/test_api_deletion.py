"""A deletion never hangs, whatever is away, and leaves nothing behind."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eventfed import EID, Credentials, Federation, FederationSettings
from eventfed_lab import ControlPlane, NatsServer
from tests.ground.cluster_api import Api, eventually, federation
from tests.ground.federations import (
    OWNED,
    PASSWORD,
    agent_pod,
    connect,
    on,
    owned,
    rounds,
    run_pod,
    says,
    settled,
    stream,
)
from tests.ground.fixture_types import Measure
from tests.ground.installation import Installation, Operator

WITHDRAWAL = 3.0
"""How long the operator of these tests waits for it, see `conftest.QUICK`."""
FINALIZER = "eventfed.io/withdrawal"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"


def gone(api: Api, namespace: str, name: str = "pbx") -> bool:
    return api.find("EventFederation", namespace, name) is None


def delete(api: Api, namespace: str, *, within: float) -> float:
    """Delete it; how long that took."""
    begin = time.monotonic()
    api.delete("EventFederation", namespace, "pbx")
    eventually(lambda: gone(api, namespace), within=within)
    return time.monotonic() - begin


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_without_agents_it_goes_at_once_with_all_that_it_owns_and_the_stream_as_asked(
    api: Api,
    operator: Operator,
    installation: Installation,
    namespace: str,
    measure: Measure,
    policy: str,
) -> None:
    api.create(federation(namespace, deletionPolicy=policy))
    settled(api, operator, namespace)
    took = delete(api, namespace, within=10)
    measure(f"EventFederation deleted ({policy}), no agents", took)
    assert took < WITHDRAWAL
    assert (stream(installation, namespace) is not None) == (policy == "Retain")
    eventually(lambda: not any(api.find(kind, namespace, name) for kind, name in OWNED), within=20)


def test_a_retained_stream_belongs_to_the_next_of_the_name(
    api: Api, operator: Operator, installation: Installation, namespace: str
) -> None:
    api.create(federation(namespace, deletionPolicy="Retain"))
    settled(api, operator, namespace)
    delete(api, namespace, within=10)
    eventually(lambda: not any(api.find(kind, namespace, name) for kind, name in OWNED), within=20)
    api.create(federation(namespace))
    says(api, namespace, "BusReachable", "True", "Connected")


async def deleted_under_an_agent(api: Api, installation: Installation, namespace: str, *, withdraws: bool) -> float:
    """Delete it while an agent holds the lease of a member for a while, or without end; how long that took."""
    assert installation.nats is not None
    credentials = Credentials("agent", installation.passwords["agent"], inbox_prefix="_INBOX_agent")
    async with Federation.connect(
        installation.nats.url,
        federation=f"{namespace}_pbx",
        agent="agent-0",
        settings=replace(FederationSettings(), create_stream=False),
        credentials=credentials,
    ) as client:
        assert await client.wait_synced(10), client.problem
        claim = client.claim(EID.parse("02:00:00:00:00:0a"), uid="u", name="asterisk-0")
        while not client.members():  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.02)
        begin = time.monotonic()
        api.delete("EventFederation", namespace, "pbx")
        await asyncio.sleep(1.5)
        assert not gone(api, namespace)
        assert client.rosters.known["node-0"].members == ()
        if withdraws:
            claim.release()
        while not gone(api, namespace):
            assert time.monotonic() < begin + 15
            await asyncio.sleep(0.05)
        return time.monotonic() - begin


@pytest.mark.parametrize("withdraws", [True, False], ids=["who withdraw", "who do not"])
def test_it_waits_for_agents_no_longer_than_the_withdrawal(
    api: Api,
    operator: Operator,
    installation: Installation,
    namespace: str,
    measure: Measure,
    withdraws: bool,
) -> None:
    api.create(federation(namespace))
    eventually(lambda: owned(api, namespace))
    run_pod(api, agent_pod(namespace, "node-0"), "10.1.0.100")
    says(api, namespace, "BusReachable", "True", "Connected")
    took = asyncio.run(deleted_under_an_agent(api, installation, namespace, withdraws=withdraws))
    assert withdraws or took > WITHDRAWAL - 1.1  # deletion times are in whole seconds
    how = "agents withdrew after 1.5 s" if withdraws else f"agents never withdrew (withdrawal {WITHDRAWAL:g} s)"
    measure(f"EventFederation deleted, {how}", took)
    assert stream(installation, namespace) is None


def test_with_nats_away_it_takes_no_longer_than_the_withdrawal(
    api: Api, operator: Operator, namespace: str, own_nats: NatsServer, measure: Measure
) -> None:
    connect(api, namespace, own_nats)
    own_nats.kill()
    says(api, namespace, "BusReachable", "False", "BusUnreachable")
    took = delete(api, namespace, within=WITHDRAWAL + 5)
    assert took > WITHDRAWAL - 1.1  # deletion times are in whole seconds
    measure(f"EventFederation deleted, NATS away (withdrawal {WITHDRAWAL:g} s)", took)


@pytest.fixture
def strict_nats() -> Iterator[NatsServer]:
    """A NATS whose user may not delete streams, as when the operator logs in as agents do."""
    permissions = '{ publish: { allow: [">"], deny: ["$JS.API.STREAM.DELETE.*"] } }'
    user = f'{{ user: members, password: "{PASSWORD}", permissions: {permissions} }}'
    server = NatsServer(configuration=f"authorization {{ users: [ {user} ] }}")
    asyncio.run(server.start())
    yield server
    asyncio.run(server.close())


@pytest.mark.long
def test_a_stream_that_nats_does_not_let_us_delete_is_left_behind_and_told(
    api: Api, operator: Operator, namespace: str, strict_nats: NatsServer, measure: Measure
) -> None:
    connect(api, namespace, strict_nats)
    took = delete(api, namespace, within=40)
    measure(f"EventFederation deleted, NATS refuses to delete the stream (withdrawal {WITHDRAWAL:g} s)", took)
    name = re.escape(f"{namespace}/pbx: stream EVENTFED_{namespace}_pbx_local stays")
    assert re.search(name, operator.log)


def test_a_secret_that_is_missing_does_not_hold_it_up(
    api: Api, operator: Operator, namespace: str, own_nats: NatsServer
) -> None:
    api.create(federation(namespace, **on(own_nats)))
    says(api, namespace, "BusReachable", "False", "SecretMissing")
    delete(api, namespace, within=WITHDRAWAL + 5)


def test_a_namespace_that_is_deleted_whole_goes(
    api: Api, operator: Operator, make_namespace: Callable[..., str], measure: Measure
) -> None:
    namespace = make_namespace()
    api.create(federation(namespace))
    api.create(federation(namespace, "second", members={"selector": {"matchLabels": {"app": "second"}}}))
    settled(api, operator, namespace)
    begin = time.monotonic()
    api.delete("Namespace", "", namespace)
    eventually(lambda: api.find("Namespace", "", namespace) is None, within=40)
    measure("namespace with two EventFederations deleted", time.monotonic() - begin)


def test_another_finalizer_is_none_of_ours(api: Api, operator: Operator, namespace: str) -> None:
    made = federation(namespace)
    made["metadata"]["finalizers"] = ["example.net/mine"]
    api.create(made)
    settled(api, operator, namespace)
    api.delete("EventFederation", namespace, "pbx")
    eventually(lambda: api.get("EventFederation", namespace, "pbx")["metadata"]["finalizers"] == ["example.net/mine"])
    rounds(operator, 2)
    assert FINALIZER not in api.get("EventFederation", namespace, "pbx")["metadata"]["finalizers"]
    api.merge("EventFederation", namespace, "pbx", {"metadata": {"finalizers": None}})
    assert gone(api, namespace)


def test_without_an_operator_the_documented_patch_lets_go(
    plane: ControlPlane, api: Api, operator: Operator, namespace: str
) -> None:
    api.create(federation(namespace))
    settled(api, operator, namespace)
    operator.terminate()
    try:
        api.delete("EventFederation", namespace, "pbx")
        assert api.get("EventFederation", namespace, "pbx")["metadata"]["finalizers"] == [FINALIZER]
        told = documented_command().replace("--namespace voice", f"--namespace {namespace}")
        plane.kubectl(*told.replace("'", "").split()[1:])
        assert gone(api, namespace)
    finally:
        operator.start()


def documented_command() -> str:
    text = DOCUMENT.read_text()
    found = re.search(r"`(kubectl patch evfed [^`]*)`", text)
    assert found is not None
    return found[1]


def test_an_operator_that_starts_later_finishes_the_deletion(
    api: Api, operator: Operator, installation: Installation, namespace: str, measure: Measure
) -> None:
    api.create(federation(namespace))
    settled(api, operator, namespace)
    operator.terminate()
    try:
        api.delete("EventFederation", namespace, "pbx")
        time.sleep(WITHDRAWAL + 1)  # what was to be waited for has passed before it begins
        assert not gone(api, namespace)
    finally:
        begin = time.monotonic()
        operator.start()
    eventually(lambda: gone(api, namespace), within=20)
    measure("operator started, deletion finished", time.monotonic() - begin)
    assert stream(installation, namespace) is None
