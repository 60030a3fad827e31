"""A real API server that refuses everything for a while: the operator goes on, with one line of each kind."""

import json
import time
from collections.abc import Iterator

import pytest

from eventfed_lab import ControlPlane
from tests.ground.cluster_api import Api, eventually, federation
from tests.ground.federations import says
from tests.ground.fixture_types import Measure
from tests.ground.installation import Installation, Operator
from tests.ground.refusing_proxy import RefusingProxy

SECONDS = 4.0


@pytest.fixture
def proxy(plane: ControlPlane) -> Iterator[RefusingProxy]:
    with RefusingProxy(plane.url, plane.authorities.parent) as way:
        yield way


@pytest.fixture
def behind(installation: Installation, proxy: RefusingProxy, api: Api) -> Iterator[Operator]:
    """An operator that reaches the API server through the proxy alone, and looks by itself only each ten minutes."""
    operator = installation.operator(server=f"https://127.0.0.1:{proxy.port}", EVENTFED_RESYNC="600").start()
    eventually(lambda: operator.leads)
    yield operator
    operator.close()
    api.delete("Lease", installation.namespace, installation.account)


def holder(api: Api, installation: Installation) -> str:
    spec = api.get("Lease", installation.namespace, installation.account)["spec"]
    return str(spec.get("holderIdentity") or "")


@pytest.mark.parametrize("status", [401, 429, *(pytest.param(code, marks=pytest.mark.long) for code in (403, 500))])
def test_an_api_server_that_refuses_everything_for_four_seconds_ends_nothing(
    api: Api,
    behind: Operator,
    proxy: RefusingProxy,
    installation: Installation,
    namespace: str,
    status: int,
    measure: Measure,
) -> None:
    api.create(federation(namespace))
    says(api, namespace, "BusReachable", "True", "Connected")
    written = len(behind.log.splitlines())
    held = holder(api, installation)
    proxy.refuse(status)
    time.sleep(SECONDS)
    proxy.accept()
    begin = time.monotonic()
    before = api.get("DaemonSet", namespace, "pbx-agent")["spec"]["template"]
    api.merge("EventFederation", namespace, "pbx", {"spec": {"agent": {"logLevel": "debug"}}})
    eventually(lambda: api.get("DaemonSet", namespace, "pbx-agent")["spec"]["template"] != before, within=30)
    measure(f"API server answered {status} for {SECONDS:g} s, a change is acted on", time.monotonic() - begin)
    assert proxy.refused, "nothing was asked"
    assert behind.running
    assert behind.leads
    assert holder(api, installation) == held
    lines = [json.loads(line) for line in behind.log.splitlines()[written:]]
    assert all("exception" not in line for line in lines), lines
    assert len(lines) <= 4 * SECONDS, lines
    behind.terminate()
    assert behind.returncode == 0, behind.log
    assert holder(api, installation) == ""


def test_an_operator_that_loses_its_lease_ends_with_one_line_and_gives_back_what_it_can(
    api: Api, behind: Operator, proxy: RefusingProxy, installation: Installation
) -> None:
    proxy.refuse(401)
    eventually(lambda: not behind.running, within=40)
    assert behind.returncode == 1
    lines = [json.loads(line) for line in behind.log.splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "error" and "kopf" not in line["logger"]]
    assert len(errors) == 1, errors
    assert "could not be renewed" in errors[0]
    assert "Traceback" not in behind.log


def test_whatever_refuses_all_but_the_lease_the_lease_is_given_back_in_the_end(
    api: Api, behind: Operator, proxy: RefusingProxy, installation: Installation
) -> None:
    proxy.refuse(401, but=("/leases/",))
    time.sleep(SECONDS)
    assert behind.leads
    behind.terminate()
    assert behind.returncode == 0, behind.log
    assert holder(api, installation) == ""
    assert "Traceback" not in behind.log
