"""What the soak calls growth."""

import random

import pytest

from soak_growth import BOUNDS, Series, growth, slope


def series(values: list[float], figure: str = "resident_mib", every: float = 15.0) -> Series:
    return Series("agent a", figure, tuple((number * every, value) for number, value in enumerate(values)))


def exceeded(values: list[float], figure: str = "resident_mib") -> bool:
    found = growth(series(values, figure))
    assert found is not None
    return found.exceeded


def test_the_slope_is_that_of_most_pairs() -> None:
    assert slope([(0, 1), (1, 2), (2, 3), (3, 4)]) == 1
    assert slope([(0, 1), (1, 2), (2, 3), (3, 400), (4, 5), (5, 6)]) == 1
    assert slope([(0, 1)]) == 0
    assert slope([]) == 0


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_peaks_are_no_growth(seed: int) -> None:
    chance = random.Random(seed)
    values = [60 + chance.uniform(-0.5, 0.5) for _ in range(40)]
    values[35] = 200
    assert not exceeded(values)


def test_the_teeth_of_a_garbage_collector_are_no_growth() -> None:
    assert not exceeded([20 + number % 7 for number in range(60)])


def test_what_a_process_takes_at_its_start_is_no_growth() -> None:
    assert not exceeded([50 + number for number in range(20)] + [70.0] * 21)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_is_growth_however_noisy_the_figure_is(seed: int) -> None:
    chance = random.Random(seed)
    assert exceeded([60 + 0.1 * number + chance.uniform(-0.5, 0.5) for number in range(60)])


def test_a_slow_leak_shows_in_a_long_run() -> None:
    # 2.5 MiB an hour: within the bound in the second five minutes of ten, over it in the second half of an hour.
    an_hour = [40 + 2.5 * number / 240 for number in range(241)]
    assert not exceeded(an_hour[:41])
    assert exceeded(an_hour)


@pytest.mark.parametrize("figure", ["tasks", "descriptors", "threads"])
def test_a_task_or_descriptor_a_minute_is_growth(figure: str) -> None:
    assert exceeded([30.0 + number // 4 for number in range(41)], figure)
    assert not exceeded([30.0 + number % 2 for number in range(41)], figure)


def test_a_fall_is_no_growth() -> None:
    assert not exceeded([60.0 - number for number in range(40)])


def test_a_large_process_may_breathe_by_a_part_of_itself() -> None:
    rising = [500 + 0.4 * number for number in range(41)]
    found = growth(series(rising))
    assert found is not None
    assert found.bound > BOUNDS["resident_mib"]
    assert not found.exceeded


def test_of_a_few_samples_nothing_is_said() -> None:
    assert growth(series([1.0] * 10)) is None
    assert growth(series([])) is None
