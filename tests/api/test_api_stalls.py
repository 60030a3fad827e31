"""Connections to the API server that fall silent, and an API server that is away: afterwards all is acted on again."""

import time
from collections.abc import Callable, Iterator

import pytest

from eventfed_lab import ControlPlane
from tests.ground.cluster_api import Api, eventually, federation
from tests.ground.federations import condition, settled
from tests.ground.fixture_types import Measure
from tests.ground.installation import Installation, Operator
from tests.ground.tcp_proxy import TcpProxy


@pytest.fixture
def proxy(plane: ControlPlane) -> Iterator[TcpProxy]:
    with TcpProxy(plane.port) as way:
        yield way


@pytest.fixture
def behind(installation: Installation, proxy: TcpProxy, api: Api) -> Iterator[Operator]:
    """An operator that reaches the API server through the proxy alone, and looks by itself only each half minute."""
    operator = installation.operator(server=f"https://127.0.0.1:{proxy.port}", EVENTFED_RESYNC="30").start()
    eventually(lambda: operator.leads)
    yield operator
    operator.close()
    api.delete("Lease", installation.namespace, installation.account)


def changed(api: Api, namespace: str, level: str) -> float:
    """Change the agents' log level; how long until their DaemonSet follows, in seconds."""
    before = api.get("DaemonSet", namespace, "pbx-agent")["spec"]["template"]
    api.merge("EventFederation", namespace, "pbx", {"spec": {"agent": {"logLevel": level}}})
    begin = time.monotonic()
    eventually(lambda: api.get("DaemonSet", namespace, "pbx-agent")["spec"]["template"] != before, within=100)
    return time.monotonic() - begin


@pytest.mark.long
def test_connections_that_fall_silent_are_noticed(
    api: Api, behind: Operator, proxy: TcpProxy, namespace: str, measure: Measure
) -> None:
    api.create(federation(namespace))
    settled(api, behind, namespace, within=60)
    assert changed(api, namespace, "debug") < 5
    time.sleep(2.5)  # no request is under way
    assert proxy.silence() > 2
    took = changed(api, namespace, "warning")
    measure("all connections to the API server silent, a change is acted on", took)
    assert behind.running, behind.log
    assert behind.leads
    assert (behind.get("/healthz") or (0,))[0] == 200


def test_connections_that_are_cut_are_made_again(
    api: Api, behind: Operator, proxy: TcpProxy, namespace: str, measure: Measure
) -> None:
    api.create(federation(namespace))
    settled(api, behind, namespace, within=60)
    for level in ("debug", "warning"):
        proxy.cut()
        took = changed(api, namespace, level)
    measure("all connections to the API server cut, a change is acted on", took)
    assert took < 15
    assert behind.leads


def test_an_api_server_that_is_away_for_some_seconds_is_no_reason_to_end(
    plane: ControlPlane, api: Api, behind: Operator, namespace: str, measure: Measure
) -> None:
    api.create(federation(namespace))
    settled(api, behind, namespace, within=60)
    plane.kill_api_server()
    begin = time.monotonic()
    while time.monotonic() - begin < 4:
        assert [(behind.get(path) or (0,))[0] for path in ("/healthz", "/readyz")] == [200, 200]
        time.sleep(0.2)
    plane.start_api_server()
    away = time.monotonic() - begin
    if not behind.running:
        # A Lease that could not be renewed for so long is lost; the kubelet starts the process again.
        assert away > 8, behind.log
        behind.start()
        eventually(lambda: behind.leads, within=25)
    took = changed(api, namespace, "debug")
    measure("API server killed and started again, a change is acted on", took)
    assert took < 20
    assert behind.leads, behind.log
    assert (behind.get("/healthz") or (0,))[0] == 200


@pytest.mark.long
def test_an_api_server_that_is_away_for_longer_than_a_lease_ends_the_leader_and_the_next_process_acts(
    api: Api, behind: Operator, proxy: TcpProxy, namespace: str, measure: Measure
) -> None:
    """Another operator may act by then. The kubelet starts the process again."""
    api.create(federation(namespace))
    settled(api, behind, namespace, within=60)
    proxy.stop()
    begin = time.monotonic()
    eventually(lambda: not behind.running, within=40)
    measure("API server silent, the leading operator has ended", time.monotonic() - begin)
    assert behind.returncode == 1
    assert "could not be renewed" in behind.log
    proxy.go_on()
    behind.start()
    eventually(lambda: behind.leads, within=25)
    assert changed(api, namespace, "debug") < 15


@pytest.mark.long
@pytest.mark.timeout(300)
def test_watches_of_many_federations_leave_connections_for_requests(
    api: Api, operator: Operator, make_namespace: Callable[..., str], measure: Measure
) -> None:
    """Each has two watches that stay open; the client's own limit is 100 connections."""
    namespace, names = make_namespace(), [f"pbx-{number}" for number in range(60)]
    begin = time.monotonic()
    for name in names:
        api.create(federation(namespace, name, members={"selector": {"matchLabels": {"app": name}}}))

    def connected() -> bool:
        ready = [condition(api, namespace, "BusReachable", name)[1] == "Connected" for name in names]
        return all(ready)

    eventually(connected, within=200, pause=1.0)
    measure("60 EventFederations applied, all Connected", time.monotonic() - begin)
