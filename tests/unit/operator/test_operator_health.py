"""Endpoints, metrics, and a watch that stands still."""

import asyncio
from typing import Any

import aiohttp
import pytest

from eventfed_operator.health import STALLED_AFTER, Health, WatchAudit
from eventfed_operator.operator_endpoints import AddressInUse, serve_endpoints
from eventfed_operator.operator_metrics import METRICS, render_metrics


def test_a_watch_that_tells_of_everything_never_lags() -> None:
    audit = WatchAudit()
    audit.heard("a", "1")
    audit.compare({"a": "1"}, 0.0)
    assert audit.standing(1000.0) == 0


def test_a_watch_that_misses_a_change_lags_from_the_first_list_that_shows_it() -> None:
    audit = WatchAudit()
    audit.heard("a", "1")
    audit.compare({"a": "2"}, 100.0)
    audit.compare({"a": "3"}, 130.0)
    assert audit.standing(150.0) == 50


def test_an_object_that_changes_all_the_time_does_not_count_while_its_changes_are_heard() -> None:
    audit = WatchAudit()
    for second in range(0, 300, 30):
        audit.heard("a", str(second))
        audit.compare({"a": str(second + 1)}, float(second))
        assert audit.standing(float(second)) == 0


@pytest.mark.parametrize("listed", [{"a": "1", "b": "1"}, {}])
def test_an_object_that_the_watch_never_told_of_or_still_believes_in_counts(listed: dict[str, str]) -> None:
    audit = WatchAudit()
    audit.heard("a", "1")
    audit.compare(listed, 0.0)
    assert audit.standing(10.0) == 10


def test_a_watch_that_catches_up_lags_no_longer() -> None:
    audit = WatchAudit()
    audit.compare({"a": "1"}, 0.0)
    audit.heard("a", "1")
    audit.compare({"a": "1"}, 10.0)
    assert audit.standing(20.0) == 0
    audit.gone("a")
    audit.compare({}, 30.0)
    assert audit.standing(40.0) == 0


def test_only_an_operator_that_acts_is_unhealthy_because_of_its_watch() -> None:
    health = Health(leading=True)
    health.watches.compare({"a": "1"}, 0.0)
    assert not list(health.problems(STALLED_AFTER))
    assert list(health.problems(STALLED_AFTER + 1))
    health.leading = False
    assert not list(health.problems(STALLED_AFTER + 1))


async def test_the_endpoints_tell_how_things_stand(api: Any, bus: Any, until: Any, supervised: Any) -> None:
    health = Health()
    loop = asyncio.get_running_loop()
    api.federation()
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status, await response.text()

        async with (
            # Another look at all of them would tell the watches that all is well.
            supervised(health=health, resync=600) as supervisor,
            serve_endpoints(health, lambda: render_metrics(supervisor, loop.time), ("127.0.0.1", 0)) as port,
        ):
            health.leading = True
            await until(lambda: health.contact)
            await until(lambda: supervisor.counters.rounds)
            assert await get("/readyz") == (200, "ready\n")
            assert await get("/healthz") == (200, "ok\n")
            status, text = await get("/metrics")
            assert status == 200
            assert "eventfed_operator_leader 1.0" in text
            assert 'eventfed_operator_actions_total{action="Apply"}' in text
            assert {name for name in METRICS if name not in text} == set()
            health.watches.compare({"a": "1"}, loop.time() - STALLED_AFTER - 60)
            status, text = await get("/healthz")
            assert status == 503
            assert "has stood still" in text


async def test_an_operator_that_has_not_reached_the_api_server_is_not_ready() -> None:
    async with (
        aiohttp.ClientSession() as session,
        serve_endpoints(Health(), bytes, ("127.0.0.1", 0)) as port,
        session.get(f"http://127.0.0.1:{port}/readyz") as response,
    ):
        assert response.status == 503


async def test_an_address_in_use_is_told_by_the_variable_that_names_it() -> None:
    async with serve_endpoints(Health(), bytes, ("127.0.0.1", 0)) as port:
        with pytest.raises(AddressInUse, match="EVENTFED_HTTP"):
            async with serve_endpoints(Health(), bytes, ("127.0.0.1", port)):
                pass
