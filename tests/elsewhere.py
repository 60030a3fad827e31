"""Runs a command as on another machine: of another age, with another name, another language and another time zone.

The tests must pass on any machine; the one they run on is the only one that they would be tried on otherwise. The clock
of a time namespace (time_namespaces(7)) says how long ago the machine was booted, that of a UTS namespace its name.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OLD", "YOUNG", "Machine", "unavailable"]

# The clock of a time namespace counts for the children of its maker. What becomes of the child is what becomes of this.
_BEGIN = """
import os, signal, socket, subprocess, sys
socket.sethostname(sys.argv[1])
child = subprocess.Popen(sys.argv[2:])
signal.signal(signal.SIGINT, lambda *_: child.send_signal(signal.SIGINT))
code = child.wait()
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@dataclass(frozen=True)
class Machine:
    """What a process can see of a machine, and no test may depend on."""

    age: int
    """Seconds since it was booted: what its monotonic clock says."""
    name: str
    language: str
    time_zone: str

    def command(self, command: list[str]) -> list[str]:
        """What runs `command` there, in this process's environment but for `environment`."""
        offsets = [f"--{clock}={self.age - round(_age(clock))}" for clock in ("monotonic", "boottime")]
        inside = [sys.executable, "-c", _BEGIN, self.name, *command]
        return ["unshare", "--time", "--uts", *_as_root(), *offsets, *inside]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that go with it."""
        return {"TZ": self.time_zone, "LANG": self.language, "LC_ALL": self.language}

    def __str__(self) -> str:
        return f"a machine called {self.name}, booted {self.age:,} s ago, {self.language}, {self.time_zone}"


YOUNG = Machine(age=5, name="x", language="C", time_zone="Pacific/Kiritimati")
OLD = Machine(age=400 * 86_400, name=f"{'very-long-' * 6}name", language="C.UTF-8", time_zone="America/St_Johns")


def _age(clock: str) -> float:
    """Of the kernel's own clock, from which offsets are counted, even where this process has another one already."""
    now = time.clock_gettime(time.CLOCK_MONOTONIC if clock == "monotonic" else time.CLOCK_BOOTTIME)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/timens_offsets").read_text(encoding="ascii").splitlines():
            name, seconds, _ = line.split()
            if name == clock:
                now -= int(seconds)
    return now


def _as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["--user", "--map-current-user"]


def unavailable() -> str:
    """Why this kernel or user cannot have such machines; empty where they can."""
    if shutil.which("unshare") is None:
        return "there is no program unshare (util-linux)"
    tried = subprocess.run(YOUNG.command(["true"]), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return "" if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["unshare failed"])[-1]
