"""A child process that never outlives us."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ._figures import process_figures

__all__ = ["ChildProcess"]

_LAUNCH = Path(__file__).with_name("_launch.py")
_POLL = 0.01
"""Seconds between looks at a process that has been told to end."""


class ChildProcess:
    """A program in a session (and so a process group) of its own.

    It is bound to no event loop, so a server may be kept over several tests. On Linux the kernel kills it when
    the thread that started it ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path,
        root: Path = Path("/"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`, inside `root`, its standard output and error appended to `output`."""
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(root), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if environment is None else dict(environment),
            )
        self.output = output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    @property
    def rss(self) -> int:
        """Resident memory in bytes; LabError if it does not run."""
        return process_figures(self.pid).resident_bytes

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group; nothing happens if it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def hang(self) -> None:
        """Stop it where it stands (SIGSTOP): sockets stay open, nothing answers. Returns when all threads stand."""
        self.signal(signal.SIGSTOP)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    async def wait(self, within: float) -> int:
        """Wait until it has ended and return its code.

        Raises:
            TimeoutError: it still runs after `within` seconds.
        """
        deadline = time.monotonic() + within
        while (code := self._process.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} still runs after {within:g} s")
            await asyncio.sleep(_POLL)
        return code

    async def terminate(self, within: float) -> None:
        """SIGTERM, and SIGKILL if that has not ended it after `within` seconds."""
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            await self.wait(within)
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """SIGKILL for the whole process group; returns when the process is gone."""
        # The group may outlive its first process, so the signal goes out even if that one has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
