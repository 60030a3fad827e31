"""What all test suites share: the choice of long tests, and the record of measured times."""

import logging
import math
import re
import time
from collections.abc import Callable, Iterator

import pytest
import structlog

MEASURED = "measured: "
"""Prefix of the junit properties that `tests/run.py` gathers."""
_LOGGERS = (None, "kopf", "nats")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("eventfed")
    group.addoption("--long", action="store_true", help="run the tests marked long as well")
    group.addoption(
        "--part",
        type=parse_part,
        metavar="K/N",
        help="run only the tests marked long or parser, and of those only the K-th of N parts; 2/3: the second third",
    )


def parse_part(text: str) -> tuple[int, int]:
    """``2/3`` as (2, 3)."""
    found = re.fullmatch(r"([1-9]\d?)/([1-9]\d?)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"{text!r}: write 1/3, 2/3 or 3/3, or another K/N")
    return int(found[1]), int(found[2])


class FailuresAtOnce:
    """Tells each failure when it happens: a suite of half an hour that is ended early has said what it saw."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message if crash else report.longreprtext
            self._terminal.ensure_newline()
            self._terminal.write_line(
                f"{time.strftime('%H:%M:%S')} {report.nodeid} ({report.when}): {reason}", red=True
            )


@pytest.hookimpl(trylast=True)  # the terminal reporter is made by then
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is not None:
        config.pluginmanager.register(FailuresAtOnce(terminal))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("--part")
    if part is not None:
        # Neighbours, because what is dear to make, a federation on a cluster, is made once for a module: pytest-shard
        # takes tests by their hashes. pytest-split's chunks leave the last parts empty (46 tests in 9 parts).
        rest, (number, of) = [item for item in items if _is_rest(item)], part
        chosen = rest[len(rest) * (number - 1) // of : len(rest) * number // of]
    elif config.getoption("--long"):
        return
    else:
        chosen = [item for item in items if item.get_closest_marker("long") is None]
    kept = {id(item) for item in chosen}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = chosen


def _is_rest(item: pytest.Item) -> bool:
    return item.get_closest_marker("long") is not None or item.get_closest_marker("parser") is not None


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What a command set up ends with its test: its handler writes to a stream that is closed by then."""
    root = logging.getLogger()
    before = list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    yield
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``measure("Asterisk killed", 2.31)``: put a measured time on record, in seconds or another `unit`.

    `tests/run.py` prints what was measured, and `make test-all` writes it into ``docs/failure-modes.md``.
    """

    def record(what: str, value: float, unit: str = "s") -> None:
        assert math.isfinite(value)
        request.node.user_properties.append((MEASURED + what, f"{value:.6g} {unit}"))

    return record
