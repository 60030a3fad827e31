"""The Lease: one operator acts, and another one when it is gone."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from eventfed_operator.election import Candidate, Election, LeadershipLost
from eventfed_operator.environment import ElectionSettings
from eventfed_operator.health import Health
from eventfed_operator.kubernetes_api import ApiError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def settings(identity: str, duration: float = 15.0) -> ElectionSettings:
    return ElectionSettings("eventfed", "voice", identity, duration=duration, renewal=duration / 5)


def test_a_lease_of_another_is_taken_only_after_it_stood_unchanged_for_its_duration() -> None:
    other = Candidate(settings("other")).lease(None, wall=NOW)
    mine = Candidate(settings("mine"))
    assert not mine.may_take(other, now=1000.0)
    assert not mine.may_take(other, now=1014.0)
    assert mine.may_take(other, now=1016.0)


def test_a_renewal_starts_the_wait_again_whatever_the_other_hosts_clock_says() -> None:
    candidate, mine = Candidate(settings("other")), Candidate(settings("mine"))
    first = candidate.lease(None, wall=NOW)
    renewed = candidate.lease(first, wall=datetime(1999, 1, 1, tzinfo=UTC))
    assert not mine.may_take(first, now=1000.0)
    assert not mine.may_take(renewed, now=1014.0)
    assert not mine.may_take(renewed, now=1028.0)
    assert mine.may_take(renewed, now=1030.0)


def test_a_lease_that_was_given_back_is_free_at_once() -> None:
    candidate = Candidate(settings("other"))
    free = candidate.lease(candidate.lease(None, wall=NOW), wall=NOW, holder="")
    assert Candidate(settings("mine")).may_take(free, now=1000.0)


def test_transitions_are_counted_and_renewals_are_not() -> None:
    first = Candidate(settings("other")).lease(None, wall=NOW)
    mine = Candidate(settings("mine"))
    taken = mine.lease(first, wall=NOW)
    assert (first["spec"]["leaseTransitions"], taken["spec"]["leaseTransitions"]) == (0, 1)
    assert mine.lease(taken, wall=NOW)["spec"]["leaseTransitions"] == 1


async def test_the_second_operator_follows_when_the_first_gives_the_lease_back(api: Any) -> None:
    health = Health()
    first = Election(api, settings("first", 1.0), Health())
    second = Election(api, settings("second", 1.0), health)
    await first.win()
    waiting = asyncio.create_task(second.win())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert health.contact, "one that waits is ready as well"
    assert not health.leading
    await first.give_back()
    async with asyncio.timeout(0.8):
        await waiting
    assert health.leading


async def test_two_operators_that_start_at_once_do_not_both_win(api: Any) -> None:
    candidates = [asyncio.create_task(Election(api, settings(name, 2.0), Health()).win()) for name in "ab"]
    await asyncio.wait(candidates, return_when=asyncio.FIRST_COMPLETED)
    done, pending = await asyncio.wait(candidates, timeout=0.3)
    assert (len(done), len(pending)) == (1, 1)
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)


async def test_a_leader_that_cannot_renew_stops_before_another_one_may_follow(api: Any) -> None:
    election = Election(api, settings("first", 3.0), health := Health())
    await election.win()
    api.fail = ApiError(0, "no answer")
    started = asyncio.get_running_loop().time()
    with pytest.raises(LeadershipLost):
        await election.keep()
    assert asyncio.get_running_loop().time() - started < 3.0
    assert not health.leading


async def test_a_short_outage_of_the_api_server_costs_nobody_the_lease(api: Any) -> None:
    election = Election(api, settings("first", 2.0), Health())
    await election.win()
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(election.keep())
        api.fail = ApiError(503, "no answer")
        await asyncio.sleep(0.6)
        api.fail = None
        await asyncio.sleep(1.2)
        assert not keeping.done()
        keeping.cancel()
