"""Runs the test suites, each in a pytest process of its own, and sums them up.

Its last line is ``N passed, N failed, N skipped``; its exit code is 0 only if something ran and nothing failed.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests import elsewhere
from tests.programs import Programs

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "results"
DOCUMENT = ROOT / "docs" / "failure-modes.md"
BLOCKS = {"results": ("unit", "bus", "asterisk"), "kubernetes": ("api", "kind")}
"""Where what was measured stands in the document, and the suites that must all have run at full length for it."""
MEASURED = "measured: "
EXAMPLES, EXAMPLES_IN_PART, EXAMPLES_IN_FULL = 2_000, 10_000, 100_000
FAILED, NOTHING_COLLECTED = 1, 5
IDLE_MINUTES_IN_FULL = 60
"""For how long federations are left alone at full length; in a part of it for ten."""

# The suites in their order: first what needs no cluster, whose programs are built meanwhile. With the seconds after
# which one that hangs as a whole is ended.
LIMITS = {"unit": 900, "bus": 900, "asterisk": 1_500, "api": 600, "kind": 2_400}
FULL_LENGTH = 12

# Not in the background: docker and what it runs would have the builds' priority. The tests say why if it cannot be had.
PREPARATIONS = {"kind": ["tests/kind/build.sh"]}
EXPECTED = {"unit": 246, "bus": 395, "asterisk": 790, "api": 404, "kind": 393}
"""Seconds of a short run on two cores, for the estimate where this checkout has run nothing yet."""
TRIED_AGAIN = 5
SECOND_TRIES = RESULTS / "second-tries.txt"
IN_ANY_ORDER = ("unit", "bus")
"""Suites whose tests share nothing that is dear to make; each run has another order."""
AT_A_TIME = {"unit": ["--numprocesses=2", "--dist=loadfile"], "bus": ["--numprocesses=3", "--dist=worksteal"]}
"""How such a suite is shared among processes (pytest-xdist). The bus tests wait for most of their time."""


@dataclass
class Suite:
    """The outcome of one suite."""

    name: str
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    measured: list[tuple[str, str]] = field(default_factory=list)

    second_try: list[str] = field(default_factory=list)
    """Tests that failed at first and passed when they were tried again."""

    @property
    def ran(self) -> int:
        return self.passed + self.failed

    def settle(self, again: "Suite") -> None:
        """Take in what became of the failures when they were tried again; what did not run then stays failed."""
        self.seconds += again.seconds
        if again.ran != self.failed:
            return
        self.second_try = [test for test in self.failures if test not in again.failures]
        self.measured += again.measured
        self.passed += again.passed
        self.failed, self.failures = again.failed, again.failures


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/run.py", description=__doc__)
    parser.add_argument("--suite", action="append", choices=LIMITS, help="only this one; may be repeated")
    parser.add_argument("--full", action="store_true", help="everything at full length; record the results")
    parser.add_argument("--record", action="store_true", help="record the results of a run that is not --full as well")
    parser.add_argument(
        "--part",
        metavar="K/N",
        help="only the K-th of N parts of what --full adds, fewer generated inputs; auto/N: in turn, "
        "by EVENTFED_CI_NUMBER, else the number of commits",
    )
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, after --")
    chosen = parser.parse_args(arguments)
    if chosen.full and chosen.part:
        parser.error("use one of --full and --part")
    if chosen.part is not None:
        found = re.fullmatch(r"(auto|[1-9]\d?)/([1-9]\d?)", chosen.part)
        if found is None or (found[1] != "auto" and int(found[1]) > int(found[2])):
            parser.error(f"--part {chosen.part}: write 1/3, 2/3, 3/3 or auto/3, or another K/N")
        number = _turn() % int(found[2]) + 1 if found[1] == "auto" else found[1]
        chosen.part = f"{number}/{found[2]}"
    return chosen


def _turn() -> int:
    given = os.environ.get("EVENTFED_CI_NUMBER")
    return _number("EVENTFED_CI_NUMBER", given) if given else int(_git("rev-list", "--count", "HEAD") or 0)


def _number(variable: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise SystemExit(f"{variable}: write a whole number, not {text!r}")
    return int(text)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def examples(chosen: argparse.Namespace) -> int:
    """How many generated inputs each parser gets: EVENTFED_EXAMPLES, else by the length of the run."""
    given = os.environ.get("EVENTFED_EXAMPLES")
    if given:
        return _number("EVENTFED_EXAMPLES", given)
    return EXAMPLES_IN_FULL if chosen.full else EXAMPLES_IN_PART if chosen.part else EXAMPLES


def run_suite(name: str, chosen: argparse.Namespace) -> Suite:
    """One pytest process; a crash of it, or its hanging, counts as one failed test.

    On real servers with leases of a few seconds, a machine that stands still for a second looks like a fault. So up to
    `TRIED_AGAIN` failures of any suite but unit are tried once more, and told apart in the summary. They run in a
    process of their own, after all others: pytest-rerunfailures would try at once, with what the module has made and
    may have broken.
    """
    long = chosen.full or chosen.part is not None
    command = [sys.executable, "-m", "pytest", f"tests/{name}", "--quiet", *chosen.pytest]
    if name in IN_ANY_ORDER and not chosen.part:
        command += ["-p", "randomly", *AT_A_TIME[name]]
        if not any(argument.startswith("--randomly-seed") for argument in chosen.pytest):
            seed = secrets.randbelow(2**32)
            command.append(f"--randomly-seed={seed}")
            print(f'order: make test ARGS="--suite {name} -- --randomly-seed={seed}" repeats it', flush=True)
    if chosen.full:
        command.append("--long")
    if chosen.part:
        command.append(f"--part={chosen.part}")
    if long and name == "unit":
        command.append("--timeout=3600")
    if name == "kind":
        command.append("--timeout=900")
    environment = {**os.environ, "EVENTFED_EXAMPLES": str(examples(chosen))}
    if chosen.full:
        environment.setdefault("EVENTFED_IDLE_MINUTES", str(IDLE_MINUTES_IN_FULL))
    if name == "unit":
        command, environment = _elsewhere(elsewhere.OLD if long else elsewhere.YOUNG, command, environment)
    if name in PREPARATIONS:
        subprocess.run(PREPARATIONS[name], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False)
    limit = LIMITS[name] * (FULL_LENGTH if long else 1)
    suite, ended = _run_pytest(name, command, environment, limit)
    if ended and name != "unit" and 0 < suite.failed <= TRIED_AGAIN:
        again, ended = _run_pytest(name, second_try_of(command), environment, limit)
        if ended:
            suite.settle(again)
    return suite


def _elsewhere(
    machine: elsewhere.Machine, command: list[str], environment: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The same as on another machine, where this one can have one; a line says which it is."""
    if problem := elsewhere.unavailable():
        print(f"as on this machine alone, and not as on {machine}: {problem}", flush=True)
        return command, environment
    print(f"as on {machine}", flush=True)
    return machine.command(command), {**environment, **machine.environment}


def second_try_of(command: list[str]) -> list[str]:
    """The same for the tests alone that failed, one at a time: a part of these few would be other tests, or none."""
    alone = [argument for argument in command if not argument.startswith(("--numprocesses=", "--dist="))]
    kept = [argument if not argument.startswith("--part=") else "--long" for argument in alone]
    return [*kept, "--last-failed", "--last-failed-no-failures=none"]


def _run_pytest(name: str, command: list[str], environment: dict[str, str], limit: float) -> tuple[Suite, bool]:
    """The outcome, and whether pytest came to its end in order."""
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [*command, f"--junit-xml={report}"]
    begin = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait(limit)
        problem = "" if code in (0, FAILED, NOTHING_COLLECTED) else f"pytest ended with {_describe(code)}"
    except subprocess.TimeoutExpired:
        problem = f"did not end within {limit} s"
    finally:
        _end(process)
    suite = read_report(name, report)
    suite.seconds = time.monotonic() - begin
    if not problem and code == FAILED and not suite.failed:
        # With several processes a module that cannot be imported fails so, and the report names no test of it.
        problem = "pytest failed, and no test of its report did: see its last lines"
    if problem:
        suite.failed += 1
        suite.failures.append(f"{name}: {problem}")
    return suite, not problem


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    # First a chance to tidy up; what the tests left running is in the same process group.
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_report(name: str, report: Path) -> Suite:
    """What pytest wrote; empty when it wrote nothing."""
    suite = Suite(name)
    if not report.exists():
        return suite
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if not case.get("classname"):
            continue  # a test that was interrupted
        test = f"{case.get('classname')}::{case.get('name')}"
        for entry in case.iter("property"):
            if entry.get("name", "").startswith(MEASURED):
                suite.measured.append((entry.get("name", "")[len(MEASURED) :], entry.get("value", "")))
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            suite.failed += 1
            suite.failures.append(test)
        elif skip is not None:
            suite.skipped.append((test, skip.get("message", "")))
        else:
            suite.passed += 1
    return suite


def report_on(suites: list[Suite], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("suite")
    for heading in ("passed", "failed", "skipped", "seconds"):
        table.add_column(heading, justify="right")
    for suite in suites:
        counts = (suite.passed, suite.failed, len(suite.skipped))
        table.add_row(suite.name, *map(str, counts), f"{suite.seconds:.1f}", style="red" if suite.failed else "")
    console.print(table)
    measured = [row for suite in suites for row in suite.measured]
    if measured:
        times = Table("measured", "value", box=box.SIMPLE_HEAD)
        for row in measured:
            times.add_row(*row)
        console.print(times)
    for title, rows in (
        ("failed", [(test, "") for suite in suites for test in suite.failures]),
        ("skipped", [row for suite in suites for row in suite.skipped]),
    ):
        for test, reason in rows:
            console.print(f"{title}: {test}" + (f": {reason}" if reason else ""), markup=False, highlight=False)


class Estimate:
    """How long suites will take: as they took last time here, else as in `EXPECTED`.

    Args:
        length: of the run; nothing is known of the first that is not short.
    """

    def __init__(self, file: Path, length: str) -> None:
        self._file = file
        self._length = length
        self._seconds: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError, ValueError):
            self._seconds = json.loads(file.read_text(encoding="utf-8"))

    def of(self, names: Sequence[str]) -> str:
        """``, about 3 minutes; 25 minutes for all that is left``; empty where nothing is known."""
        known = {**(EXPECTED if self._length == "short" else {}), **self._seconds.get(self._length, {})}
        if not all(name in known for name in names):
            return ""
        one, rest = (max(1, round(sum(known[name] for name in some) / 60)) for some in (names[:1], names))
        return f", about {one} min" + (f"; {rest} min for all that is left" if len(names) > 1 else "")

    def took(self, name: str, seconds: float) -> None:
        self._seconds.setdefault(self._length, {})[name] = round(seconds, 1)
        self._file.write_text(json.dumps(self._seconds, indent=2), encoding="utf-8")


def tell_second_tries(suites: list[Suite], file: Path, console: Console) -> None:
    """Print them last, and add them to a file that outlives this run: a test that stands there twice is a fault."""
    tests = [f"{suite.name}: {test}" for suite in suites for test in suite.second_try]
    if tests:
        with file.open("a", encoding="utf-8") as kept:
            kept.writelines(f"{datetime.date.today().isoformat()} {test}\n" for test in tests)
        console.print(f"passed at the second try only, kept in {file}:", highlight=False)
        for test in tests:
            console.print(f"  {test}", markup=False, highlight=False)


def results_text(suites: list[Suite], inputs: int, command: str = "make test-all") -> str:
    """The Markdown that stands between the markers of ``docs/failure-modes.md``."""
    generated = any(suite.name == "unit" for suite in suites)
    changed = _git("status", "--porcelain", "--", ".", f":(exclude){DOCUMENT.relative_to(ROOT)}")
    commit = (_git("rev-parse", "--short", "HEAD") or "unknown") + (" with uncommitted changes" if changed else "")
    lines = [
        f"`{command}` at commit {commit}, {datetime.date.today().isoformat()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores" + (f", {inputs:,} generated inputs per parser." if generated else "."),
        "",
        "| suite | passed | failed | skipped | seconds |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {s.name} | {s.passed} | {s.failed} | {len(s.skipped)} | {s.seconds:.0f} |" for s in suites),
    ]
    if measured := [row for suite in suites for row in suite.measured]:
        lines += ["", "| measured | value |", "| --- | ---: |", *(f"| {what} | {value} |" for what, value in measured)]
    for title, rows in (
        ("Failed", [f"`{test}`" for suite in suites for test in suite.failures]),
        ("Passed at the second try only", [f"`{test}`" for suite in suites for test in suite.second_try]),
        ("Not run", [f"`{test}`: {reason}" for suite in suites for test, reason in suite.skipped]),
    ):
        if rows:
            lines += ["", f"{title}:", "", *(f"* {row}" for row in rows)]
    return "\n".join(lines)


def record(text: str, block: str = "results", document: Path = DOCUMENT) -> None:
    """Put the results between the markers of the document."""
    begin, end = (f"<!-- {block}:{where} -->" for where in ("begin", "end"))
    before = document.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    after, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", before)
    if count != 1:
        raise SystemExit(f"{document}: there must be one pair of {begin} and {end}")
    document.write_text(after, encoding="utf-8")


def main(arguments: list[str]) -> int:
    chosen = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell's background job is started with SIGINT ignored, and so would be all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console(soft_wrap=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    names = tuple(dict.fromkeys(chosen.suite or LIMITS))
    suites = []
    length = "full length" if chosen.full else f"part {chosen.part}" if chosen.part else "short"
    estimate = Estimate(RESULTS / "seconds.json", length)
    with Programs(names, RESULTS / "programs.log") as programs:
        for number, name in enumerate(names):
            console.rule(f"{name} ({length}): {number + 1} of {len(names)}{estimate.of(names[number:])}")
            waited, problem = programs.wait(name)
            if waited > 1:
                console.print(f"waited {waited:.0f} s for programs that were being built ({RESULTS / 'programs.log'})")
            if problem:
                console.print(problem, markup=False, highlight=False)
            suites.append(run_suite(name, chosen))
            if not chosen.pytest:
                estimate.took(name, suites[-1].seconds)
    console.rule("summary")
    report_on(suites, console)
    tell_second_tries(suites, SECOND_TRIES, console)
    command = "make test-all" if chosen.full else "make test"
    for block, needed in BLOCKS.items() if (chosen.full and not chosen.pytest) or chosen.record else ():
        if set(needed) <= set(names):
            of_block = [suite for suite in suites if suite.name in needed]
            record(results_text(of_block, examples(chosen), command), block)
            console.print(f"recorded in {DOCUMENT.relative_to(ROOT)}: {block}")
    passed, failed = sum(s.passed for s in suites), sum(s.failed for s in suites)
    print(f"{passed} passed, {failed} failed, {sum(len(s.skipped) for s in suites)} skipped", flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
