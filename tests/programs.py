"""Builds the cluster's programs beside the suites that need none, at the lowest priority."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["GROUPS", "Programs"]

ROOT = Path(__file__).resolve().parent.parent
BUILDER = "tests/kind/build-tools.sh"
_OF_API = ("k8s", "etcd", "helm")
GROUPS = {"api": _OF_API, "kind": (*_OF_API, "kind", "coredns", "cni", "localpath")}
"""What each suite needs: folders of ``tests/kind/tools``."""


class Programs:
    """The builds, one group after the other from the start on. Nothing is built that is there.

    Args:
        suites: whose programs; those of none need nothing.
        log: where the builder's output goes.
    """

    def __init__(self, suites: Sequence[str], log: Path, builder: str = BUILDER) -> None:
        self._groups = tuple(dict.fromkeys(group for suite in suites for group in GROUPS.get(suite, ())))
        self._log = log
        self._builder = builder
        self._ended = {group: threading.Event() for group in self._groups}
        self._failed: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="programs")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._starting:
            self._stopped = True
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)
        self._thread.join()

    def wait(self, suite: str) -> tuple[float, str]:
        """Wait until those of a suite are there.

        Returns:
            Seconds that were waited, and what is wrong; its tests say so themselves.
        """
        began = time.monotonic()
        for group in GROUPS.get(suite, ()):
            self._ended[group].wait()
        problems = [self._failed[group] for group in GROUPS.get(suite, ()) if group in self._failed]
        return time.monotonic() - began, "; ".join(problems)

    def _run(self) -> None:
        # A build at idle priority gets what the suites leave.
        idle = ["chrt", "--idle", "0"] if shutil.which("chrt") else ["nice", "-n", "19"]
        for group in self._groups:
            self._build([*idle, self._builder, group], group)
            self._ended[group].set()

    def _build(self, command: list[str], group: str) -> None:
        with self._log.open("ab") as log:
            with self._starting:
                if self._stopped:
                    return
                self._process = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            code = self._process.wait()
        if code and not self._stopped:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word"]
            self._failed[group] = f"{group} could not be built: {last[-1]} (all of it in {self._log})"
