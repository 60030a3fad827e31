"""The demo as a stranger runs it: a process of its own, one JSON document, nothing left behind."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from eventfed_lab import AsteriskRoot
from tests.ground.fixture_types import Measure

STEPS = [
    "three servers start and are federated",
    *(f"voicemail on a: lamp 1001 on {name}" for name in "bc"),
    *(f"call on a: PJSIP/1001 on {name}" for name in "bc"),
    *(f"call on a: hint 1001 on {name}" for name in "bc"),
    *(f"hung up on a: PJSIP/1001 on {name}" for name in "bc"),
    *(f"heard on a: lamp 1001 on {name}" for name in "bc"),
    *(f"call on a again: PJSIP/1001 on {name}" for name in "bc"),
    *(f"set on a: Custom:lamp1 on {name}" for name in "bc"),
    *(f"a killed: PJSIP/1001 on {name}" for name in "bc"),
    *(f"a killed: hint 1001 on {name}" for name in "bc"),
    *(f"a killed: Custom:lamp1 on {name}" for name in "bc"),
    "voicemail on b then: lamp 1002 on c",
]


class Demo:
    """A running ``eventfed demo`` and every process that it was seen to start."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.started: set[int] = set()
        self.files: set[Path] = set()
        """The configuration files that its processes were given."""

    async def watch(self) -> None:
        while True:
            self.started |= descendants(self.process.pid)
            for pid in self.started:
                self.files |= {Path(word) for word in command_of(pid) if word.endswith(("/agent.toml", "/nats.conf"))}
            await asyncio.sleep(0.05)

    async def communicate(self, within: float) -> tuple[str, str]:
        async with asyncio.timeout(within):
            out, err = await self.process.communicate()
        return out.decode(), err.decode()

    def running(self) -> set[int]:
        """Those of its processes that still run."""
        return {pid for pid in self.started if state_of(pid) not in (None, "Z")}

    def check_that_nothing_is_left(self) -> None:
        """Of the nats-server and the three agents at least: no process and no file."""
        assert len(self.started) >= 4
        assert self.running() == set()
        assert len(self.files) == 4
        assert [file for file in self.files if file.exists()] == []


@asynccontextmanager
async def demo(*arguments: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "eventfed_cli", "demo", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    running = Demo(process)
    watcher = asyncio.create_task(running.watch())
    try:
        yield running
    finally:
        watcher.cancel()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found |= {child} | descendants(child)
    return found


def command_of(pid: int) -> list[str]:
    """Its command line; empty where it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def state_of(pid: int) -> str | None:
    """``R``, ``S``, ``Z``, …; None where it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def check(document: dict[str, Any], kind: str) -> None:
    assert set(document) == {"servers", "steps"}
    assert [(server["name"], server["kind"]) for server in document["servers"]] == [(name, kind) for name in "abc"]
    assert [step["name"] for step in document["steps"]] == STEPS
    for step in document["steps"]:
        assert set(step) == {"name", "expected", "seen", "ms", "ok"}
        assert step["ok"], step
        assert step["seen"] == step["expected"]
        assert step["ms"] >= 0
    # Its states stay for the whole grace.
    assert all(step["ms"] > 3000 for step in document["steps"] if step["name"].startswith("a killed"))


async def test_the_demo_on_real_asterisk_holds_in_a_minute_and_leaves_nothing(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    began = time.monotonic()
    async with demo("--check", "--json", "--kind", "asterisk") as running:
        out, err = await running.communicate(90)
        assert running.process.returncode == 0, err
        running.check_that_nothing_is_left()
    took = time.monotonic() - began
    measure("demo on real Asterisk, all of it", took)
    assert took < 60
    document = json.loads(out)
    check(document, "asterisk")
    assert {server["version"] for server in document["servers"]} == {asterisk_root.version}
    assert "the three servers are real Asterisk" in err
    assert "times are shortened: grace 3 s instead of 30" in err


async def test_the_demo_on_simulated_servers_says_so_and_draws_its_table(tmp_path: Path) -> None:
    file = tmp_path / "demo.svg"
    async with demo("--check", "--kind", "simulated", "--svg", str(file)) as running:
        out, err = await running.communicate(60)
        assert running.process.returncode == 0, out + err
        running.check_that_nothing_is_left()
    assert "the three servers are SIMULATED, not Asterisk" in err
    assert out.splitlines()[-1] == f"{len(STEPS)} of {len(STEPS)} steps held (simulated servers)"
    assert [line[:4] for line in out.splitlines()[:-1]] == ["ok  "] * len(STEPS)
    assert file.read_text().startswith("<svg")
    assert "killed" in file.read_text()


async def test_the_demo_on_simulated_servers_gives_one_document() -> None:
    async with demo("--json", "--kind", "simulated") as running:
        out, _ = await running.communicate(60)
        assert running.process.returncode == 0
    check(json.loads(out), "simulated")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stopped_demo_leaves_nothing_and_says_that_it_was_stopped(number: int) -> None:
    async with demo("--check", "--json", "--kind", "simulated") as running:
        assert running.process.stderr is not None
        async with asyncio.timeout(30):
            while b"voicemail on a" not in await running.process.stderr.readline():
                pass
        running.process.send_signal(number)
        out, _ = await running.communicate(15)
        assert running.process.returncode == 1
        running.check_that_nothing_is_left()
    steps = json.loads(out)["steps"]
    assert steps[0]["ok"]
    assert (steps[-1]["seen"], steps[-1]["ok"]) == ("stopped by a signal", False)


async def test_a_killed_demo_takes_its_processes_along() -> None:
    async with demo("--check", "--json", "--kind", "simulated") as running:
        assert running.process.stderr is not None
        async with asyncio.timeout(30):
            while b"voicemail on a" not in await running.process.stderr.readline():
                pass
        assert len(running.started) >= 4
        running.process.kill()
        await running.process.wait()
        async with asyncio.timeout(5):
            while running.running():  # noqa: ASYNC110 - the kernel ends them, nobody tells us
                await asyncio.sleep(0.05)


def _copy(root: Path, there: Path) -> None:
    for link in (["--link"], []):  # on one file system it takes no room
        if subprocess.run(["cp", "--archive", *link, str(root), str(there)], capture_output=True).returncode == 0:
            return
        shutil.rmtree(there, ignore_errors=True)
    raise AssertionError(f"{root} cannot be copied")


@pytest.mark.parametrize("kind", ["asterisk", "auto"])
async def test_a_root_that_was_named_and_has_no_voicemail_is_refused_and_nothing_taken_in_its_place(
    asterisk_root: AsteriskRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if asterisk_root.path == Path("/"):
        pytest.skip("this machine's own Asterisk cannot be copied without its voicemail")
    root = tmp_path / "root"
    await asyncio.to_thread(_copy, asterisk_root.path, root)
    (root / asterisk_root.modules.lstrip("/") / "app_voicemail.so").unlink()
    monkeypatch.setenv("EVENTFED_ASTERISK_ROOT", str(root))
    async with demo("--check", "--kind", kind) as running:
        out, err = await running.communicate(60)
    assert running.process.returncode == 1
    assert "EVENTFED_ASTERISK_ROOT: " in out + err
    assert "lacks one of" in out + err
    assert "SIMULATED" not in err


async def test_a_cluster_demo_whose_kubeconfig_is_missing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    async with demo("--json", "--cluster") as running:
        out, _ = await running.communicate(30)
    assert running.process.returncode == 1
    assert f"KUBECONFIG: there is no file {tmp_path}/none" in json.loads(out)["steps"][0]["seen"]


async def test_a_demo_that_cannot_be_set_up_still_gives_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTFED_ASTERISK_ROOT", str(tmp_path))
    async with demo("--json", "--kind", "asterisk") as running:
        out, _ = await running.communicate(30)
        assert running.process.returncode == 1
    document = json.loads(out)
    assert document["servers"] == []
    assert [(step["name"], step["ok"], step["ms"]) for step in document["steps"]] == [("set-up", False, None)]
    assert f"the asterisk in {tmp_path} does not run" in document["steps"][0]["seen"]
