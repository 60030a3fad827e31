"""Two processes of the operator: one acts, and the other one takes over."""

import time
from collections.abc import Iterator

import pytest

from tests.ground.cluster_api import Api, eventually, federation
from tests.ground.federations import owned, says
from tests.ground.fixture_types import Measure
from tests.ground.installation import Installation, Operator

Pair = tuple[Operator, Operator]


@pytest.fixture
def pair(api: Api, installation: Installation) -> Iterator[Pair]:
    """The one that leads, and the one that waits."""
    first, second = installation.operator("operator-0"), installation.operator("operator-1")
    first.start()
    eventually(lambda: first.leads)
    second.start()
    eventually(lambda: (second.get("/readyz") or (0,))[0] == 200)
    yield first, second
    for one in (first, second):
        one.close()
    api.delete("Lease", installation.namespace, installation.account)


def holder(api: Api, installation: Installation) -> str:
    spec = api.get("Lease", installation.namespace, installation.account)["spec"]
    return str(spec.get("holderIdentity") or "")


def test_one_leads_and_the_other_waits_well_and_ready(api: Api, pair: Pair, installation: Installation) -> None:
    leader, waiting = pair
    for _ in range(20):
        assert (leader.leads, waiting.leads) == (True, False)
        time.sleep(0.1)
    assert holder(api, installation) == "operator-0"
    assert [(one.get("/healthz") or (0,))[0] for one in pair] == [200, 200]
    assert waiting.metrics()["eventfed_operator_rounds_total"] == 0


def test_a_leader_that_is_told_to_end_hands_over_at_once(
    api: Api, pair: Pair, installation: Installation, namespace: str, measure: Measure
) -> None:
    leader, waiting = pair
    begin = time.monotonic()
    leader.terminate()
    measure("leading operator told to end, has ended", time.monotonic() - begin)
    assert leader.returncode == 0, leader.log
    assert holder(api, installation) in ("", "operator-1")
    eventually(lambda: waiting.leads, within=8)
    measure("leading operator told to end, the other one leads", time.monotonic() - begin)
    api.create(federation(namespace))
    eventually(lambda: owned(api, namespace))


def test_a_leader_that_is_killed_is_followed_when_its_lease_has_run_out(
    api: Api, pair: Pair, installation: Installation, namespace: str, measure: Measure
) -> None:
    leader, waiting = pair
    api.create(federation(namespace))
    says(api, namespace, "BusReachable", "True", "Connected")
    leader.kill()
    begin = time.monotonic()
    api.delete("DaemonSet", namespace, "pbx-agent")
    eventually(lambda: waiting.leads, within=25)
    took = time.monotonic() - begin
    measure("leading operator killed, the other one leads", took)
    assert 10 < took < 22
    eventually(lambda: owned(api, namespace))
    assert holder(api, installation) == "operator-1"


@pytest.mark.long
def test_one_that_hung_ends_when_it_goes_on(pair: Pair, measure: Measure) -> None:
    """The other one leads by then, and two must not act at once."""
    leader, waiting = pair
    leader.hang()
    eventually(lambda: waiting.leads, within=25)
    leader.resume()
    begin = time.monotonic()
    eventually(lambda: not leader.running, within=10)
    measure("operator that hung goes on, has ended", time.monotonic() - begin)
    assert leader.returncode == 1
    assert "could not be renewed" in leader.log
    assert waiting.leads
