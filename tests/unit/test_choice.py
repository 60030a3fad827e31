"""Which tests run: long ones only when asked for, a part of the rest, and what `measure` leaves behind."""

import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest_plugins = "pytester"

SUITE = """
import pytest

def test_short(measure):
    measure("something", 1.25)
    measure("something else", 3, "ms")

@pytest.mark.long
@pytest.mark.parametrize("number", range(4))
def test_long(number):
    pass

@pytest.mark.parser
@pytest.mark.parametrize("number", range(2))
def test_parser(number):
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", pytester.path / "conftest.py")
    pytester.makeini(
        "[pytest]\nmarkers =\n  long\n  parser\nasyncio_default_fixture_loop_scope = function\n"
        "addopts = -p no:randomly\n"
    )
    pytester.makepyfile(test_suite=SUITE)
    return pytester


def test_long_tests_run_only_when_asked_for(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess().assert_outcomes(passed=3, deselected=4)
    suite.runpytest_inprocess("--long").assert_outcomes(passed=7)


@pytest.mark.parametrize(("of", "each"), [(3, [2, 2, 2]), (4, [1, 2, 1, 2])])
def test_all_parts_are_the_rest_and_nothing_twice(suite: pytest.Pytester, of: int, each: list[int]) -> None:
    ran: list[str] = []
    for number, count in enumerate(each, 1):
        result = suite.runpytest_inprocess("--part", f"{number}/{of}", "-v")
        result.assert_outcomes(passed=count, deselected=7 - count)
        ran += [line.split()[0] for line in result.outlines if " PASSED" in line]
    assert ran == [
        *(f"test_suite.py::test_long[{number}]" for number in range(4)),
        *(f"test_suite.py::test_parser[{number}]" for number in range(2)),
    ]


@pytest.mark.parametrize("part", ["4/3", "0/3", "1", "auto/3"])
def test_a_wrong_part_is_refused(suite: pytest.Pytester, part: str) -> None:
    assert suite.runpytest_inprocess("--part", part).ret == pytest.ExitCode.USAGE_ERROR


def test_measured_values_stand_in_the_report(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess("--junit-xml=report.xml")
    entries = ElementTree.parse(suite.path / "report.xml").getroot().iter("property")
    assert [(entry.get("name"), entry.get("value")) for entry in entries] == [
        ("measured: something", "1.25 s"),
        ("measured: something else", "3 ms"),
    ]
