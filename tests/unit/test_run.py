"""The runner of the test suites: what it reads, and what its last line says."""

import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests import run
from tests.programs import Programs

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="bus" name="test_a"><properties>
  <property name="measured: NATS restarted" value="1.5 s"/><property name="other" value="x"/></properties></testcase>
<testcase classname="bus" name="test_b"><failure message="no">text</failure></testcase>
<testcase classname="bus" name="test_c"><failure message="no">text</failure><error message="teardown"/></testcase>
<testcase classname="bus" name="test_d"><skipped type="pytest.skip" message="needs root"/></testcase>
</testsuite></testsuites>
"""


def test_a_report_is_counted_once_per_test(tmp_path: Path) -> None:
    report = tmp_path / "bus.xml"
    report.write_text(REPORT)
    suite = run.read_report("bus", report)
    assert (suite.passed, suite.failed) == (1, 2)
    assert suite.failures == ["bus::test_b", "bus::test_c"]
    assert suite.skipped == [("bus::test_d", "needs root")]
    assert suite.measured == [("NATS restarted", "1.5 s")]


def test_a_suite_that_wrote_nothing_is_empty(tmp_path: Path) -> None:
    suite = run.read_report("bus", tmp_path / "none.xml")
    assert (suite.passed, suite.failed, suite.skipped) == (0, 0, [])


@pytest.mark.parametrize(
    ("outcomes", "line", "code"),
    [
        ({"unit": (3, 0), "bus": (2, 0)}, "5 passed, 0 failed, 0 skipped", 0),
        ({"unit": (3, 0), "bus": (2, 1)}, "5 passed, 1 failed, 0 skipped", 1),
        ({"unit": (0, 0)}, "0 passed, 0 failed, 0 skipped", 1),
    ],
)
def test_the_last_line_and_the_exit_code_say_it_all(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    outcomes: dict[str, tuple[int, int]],
    line: str,
    code: int,
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "run_suite", lambda name, chosen: run.Suite(name, *outcomes[name]))
    assert run.main([f"--suite={name}" for name in outcomes]) == code
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_a_crash_of_pytest_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setenv("PYTEST_PLUGINS", "crash")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    suite = run.run_suite("unit", run.parse_arguments([]))
    assert (suite.passed, suite.failed) == (0, 1)
    assert suite.failures == ["unit: pytest ended with signal SIGKILL"]


@pytest.mark.parametrize("processes", [(), ("--numprocesses=2",)], ids=["one process", "two processes"])
def test_a_module_that_cannot_be_imported_is_a_failure(
    processes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    (tmp_path / "test_broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "test_well.py").write_text("def test_well() -> None: ...\n")
    command = [sys.executable, "-m", "pytest", str(tmp_path), f"--rootdir={tmp_path}", "-c", "/dev/null", *processes]
    suite, _ = run._run_pytest("broken", command, {**os.environ}, 60)
    assert suite.failed == 1


def test_results_stand_between_the_markers(tmp_path: Path) -> None:
    document = tmp_path / "failure-modes.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    run.record("new \\1", document=document)
    run.record("newer", document=document)
    assert document.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"
    document.write_text("no markers")
    with pytest.raises(SystemExit, match="one pair"):
        run.record("new", document=document)


def test_the_document_has_the_markers() -> None:
    text = run.DOCUMENT.read_text(encoding="utf-8")
    for block in run.BLOCKS:
        assert text.count(f"<!-- {block}:begin -->") == text.count(f"<!-- {block}:end -->") == 1
    assert sorted(suite for suites in run.BLOCKS.values() for suite in suites) == sorted(run.LIMITS)


def test_parts_take_turns_and_name_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    for number in ("0", "1", "2", "3"):
        monkeypatch.setenv("EVENTFED_CI_NUMBER", number)
        chosen.append(run.parse_arguments(["--part", "auto/3"]).part)
    assert chosen == ["1/3", "2/3", "3/3", "1/3"]
    with pytest.raises(SystemExit):
        run.parse_arguments(["--part", "1/3", "--full"])


@pytest.mark.parametrize("part", ["4/3", "0/3", "auto", "1", "auto/0", "a third"])
def test_a_part_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(SystemExit):
        run.parse_arguments(["--part", part])


def test_what_was_measured_is_a_table() -> None:
    suite = run.Suite("bus", passed=1, measured=[("NATS restarted", "1.5 s")], skipped=[("bus::t", "needs root")])
    text = run.results_text([suite], 2_000)
    assert "| bus | 1 | 0 | 1 | 0 |" in text
    assert "| NATS restarted | 1.5 s |" in text
    assert "* `bus::t`: needs root" in text


def test_what_passes_at_the_second_try_is_told_apart() -> None:
    suite = run.Suite("bus", passed=7, failed=2, failures=["t::one", "t::two"])
    suite.settle(run.Suite("bus", passed=1, failed=1, failures=["t::two"]))
    assert (suite.passed, suite.failed, suite.failures, suite.second_try) == (8, 1, ["t::two"], ["t::one"])
    assert "Passed at the second try only:\n\n* `t::one`" in run.results_text([suite], 2_000)


def test_a_second_try_is_of_all_that_failed_whatever_part_they_were_of() -> None:
    command = ["pytest", "tests/kind", "--part=8/9", "--timeout=900"]
    assert run.second_try_of(command)[:4] == ["pytest", "tests/kind", "--long", "--timeout=900"]
    assert "--last-failed" in run.second_try_of(command)
    assert "--long" not in run.second_try_of(["pytest", "tests/bus"])


def test_a_second_try_runs_one_test_at_a_time() -> None:
    for shared in run.AT_A_TIME.values():
        assert run.second_try_of(["pytest", "tests/bus", *shared])[:3] == ["pytest", "tests/bus", "--last-failed"]


def test_a_second_try_that_did_not_run_mends_nothing() -> None:
    suite = run.Suite("bus", passed=7, failed=2, failures=["t::one", "t::two"])
    suite.settle(run.Suite("bus", passed=1))
    assert (suite.passed, suite.failed, suite.second_try) == (7, 2, [])


@pytest.mark.parametrize("variable", ["EVENTFED_CI_NUMBER", "EVENTFED_EXAMPLES"])
def test_a_number_that_is_none_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "seven")
    with pytest.raises(SystemExit, match=f"{variable}: write a whole number, not 'seven'"):
        run.examples(run.parse_arguments(["--part", "auto/3"]))


def test_second_tries_are_printed_and_kept_over_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, console = tmp_path / "kept.txt", Console(soft_wrap=True)
    run.tell_second_tries([run.Suite("bus", passed=1)], file, console)
    assert not file.exists()
    for test in ("t::one", "t::two"):
        run.tell_second_tries([run.Suite("bus", passed=1, second_try=[test])], file, console)
        assert capsys.readouterr().out.splitlines()[-1] == f"  bus: {test}"
    assert [line.partition(" ")[2] for line in file.read_text().splitlines()] == ["bus: t::one", "bus: t::two"]


def test_the_estimate_is_of_the_last_run_of_the_same_length(tmp_path: Path) -> None:
    file = tmp_path / "seconds.json"
    assert run.Estimate(file, "short").of(["api"]) == ", about 7 min"
    assert run.Estimate(file, "part 1/3").of(["api"]) == ""
    run.Estimate(file, "part 1/3").took("api", 1200)
    assert run.Estimate(file, "part 1/3").of(["api"]) == ", about 20 min"
    assert run.Estimate(file, "short").of(["unit", "bus"]) == ", about 4 min; 11 min for all that is left"


def test_what_needs_no_cluster_comes_first() -> None:
    assert list(run.LIMITS) == list(run.EXPECTED) == ["unit", "bus", "asterisk", "api", "kind"]


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    """Builds each group by a line, fails at helm, and takes its time for k8s."""
    program = tmp_path / "build"
    program.write_text(
        f"#!/bin/sh\n[ $1 = k8s ] && read ready < {tmp_path}/gate\necho $1 >> {tmp_path}/built\n"
        "if [ $1 = helm ]; then echo no such module; exit 1; fi\n"
    )
    program.chmod(0o755)
    os.mkfifo(tmp_path / "gate")
    return program


def test_programs_are_built_once_while_suites_run_and_waited_for_by_who_needs_them(
    tmp_path: Path, builder: Path
) -> None:
    with Programs(["unit", "api", "kind"], tmp_path / "log", str(builder)) as programs:
        waited, problem = programs.wait("unit")
        assert (waited < 1, problem) == (True, "")
        assert not (tmp_path / "built").exists()
        (tmp_path / "gate").write_text("go\n")
        assert "helm could not be built: no such module" in programs.wait("api")[1]
        programs.wait("kind")
    assert (tmp_path / "built").read_text().split() == ["k8s", "etcd", "helm", "kind", "coredns", "cni", "localpath"]


def test_a_run_that_ends_early_ends_its_builds(tmp_path: Path, builder: Path) -> None:
    with Programs(["api"], tmp_path / "log", str(builder)):
        pass
    assert not (tmp_path / "built").exists()


def test_suites_that_need_no_cluster_build_nothing(tmp_path: Path, builder: Path) -> None:
    with Programs(["unit", "bus", "asterisk"], tmp_path / "log", str(builder)):
        pass
    assert not (tmp_path / "built").exists()
