"""The other machines that the unit tests run on."""

import os
import signal
import subprocess
import sys

import pytest

from tests.elsewhere import OLD, YOUNG, Machine, unavailable

SEES = (
    "import os, socket, time; print(round(time.monotonic()), socket.gethostname(), time.strftime('%z'), os.getppid())"
)


pytestmark = pytest.mark.skipif(bool(unavailable()), reason=f"no other machine: {unavailable()}")


@pytest.mark.parametrize(("machine", "zone"), [(YOUNG, {"+1400"}), (OLD, {"-0330", "-0230"})])
def test_a_process_there_sees_that_machine(machine: Machine, zone: set[str]) -> None:
    command, environment = machine.command([sys.executable, "-c", SEES]), {**os.environ, **machine.environment}
    seen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert machine.age - 1 <= int(seen[0]) < machine.age + 100
    assert seen[1] == machine.name
    assert seen[2] in zone


@pytest.mark.parametrize(("ends", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)])
def test_what_becomes_of_it_is_told(ends: str, code: int) -> None:
    done = subprocess.run(YOUNG.command([sys.executable, "-c", f"import os, sys; {ends}"]))
    assert done.returncode == code
