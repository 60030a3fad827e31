"""What ``make kind-demo`` runs, without a terminal."""

import json
import sys

import pytest

from eventfed_lab import Cluster
from tests.ground.fixture_types import Measure
from tests.ground.kind_ground import CHECKOUT

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_demo_on_the_cluster_holds_all_its_steps_and_leaves_nothing_behind(
    chart: Cluster, measure: Measure
) -> None:
    command = (sys.executable, "-m", "eventfed_cli", "demo", "--cluster", "--check", "--json")
    told = json.loads(await chart.run(*command, "--checkout", str(CHECKOUT), within=180))
    assert [server["kind"] for server in told["servers"]] == ["asterisk"] * 3
    assert all(server["version"].split(".")[0].isdigit() for server in told["servers"])
    assert len(told["steps"]) == 22
    assert [step for step in told["steps"] if not step["ok"]] == []
    measure("demo on kind: chart there, until three pods are federated", told["steps"][0]["ms"] / 1000)
    assert await chart.get("namespace", "eventfed-demo") is None


async def test_the_demo_says_what_is_missing_where_there_are_no_sources(chart: Cluster) -> None:
    command = (sys.executable, "-m", "eventfed_cli", "demo", "--cluster", "--check", "--checkout", "/usr")
    told = await chart.run("sh", "-c", '"$@"; echo "exit code $?"', "sh", *command)
    assert "there is no charts/eventfed/Chart.yaml in /usr: run it in eventfed's sources" in told
    assert told.endswith("exit code 1\n")
