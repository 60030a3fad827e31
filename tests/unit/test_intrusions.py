"""A publication that a server has forgotten is no intrusion where a restart explains it, before or after."""

import asyncio
from collections.abc import Callable

import pytest

from eventfed_agent.members.intrusions import IntrusionWatch

PATIENCE = 0.1


@pytest.fixture
def alarms() -> list[float]:
    return []


@pytest.fixture
def watch(alarms: list[float]) -> Callable[[], IntrusionWatch]:
    def make() -> IntrusionWatch:
        return IntrusionWatch(lambda: alarms.append(asyncio.get_running_loop().time()), patience=PATIENCE)

    return make


async def test_what_no_restart_explains_is_counted_each_and_told_once(
    watch: Callable[[], IntrusionWatch], alarms: list[float]
) -> None:
    watching, began = watch(), asyncio.get_running_loop().time()
    watching.suspect()
    watching.suspect()
    assert (watching.confirmed, alarms) == (0, [])
    await asyncio.sleep(2 * PATIENCE)
    assert watching.confirmed == 2
    assert len(alarms) == 1
    assert alarms[0] - began >= PATIENCE * 0.99


async def test_a_restart_announced_soon_after_explains_it(
    watch: Callable[[], IntrusionWatch], alarms: list[float]
) -> None:
    watching = watch()
    watching.suspect()
    await asyncio.sleep(PATIENCE / 2)
    watching.explained()
    await asyncio.sleep(2 * PATIENCE)
    assert (watching.confirmed, alarms) == (0, [])


async def test_a_restart_announced_just_before_explains_it_but_one_of_long_ago_does_not(
    watch: Callable[[], IntrusionWatch], alarms: list[float]
) -> None:
    watching = watch()
    watching.explained()
    watching.suspect()
    await asyncio.sleep(2 * PATIENCE)
    assert (watching.confirmed, alarms) == (0, [])
    watching.suspect()
    await asyncio.sleep(2 * PATIENCE)
    assert watching.confirmed == 1


async def test_after_close_nothing_is_told(watch: Callable[[], IntrusionWatch], alarms: list[float]) -> None:
    watching = watch()
    watching.suspect()
    watching.close()
    await asyncio.sleep(2 * PATIENCE)
    assert (watching.confirmed, alarms) == (0, [])
