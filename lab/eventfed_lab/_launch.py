"""Starts one program so that it cannot outlive the process that started it: ``_launch.py PARENT ROOT PROGRAM [ARG …]``.

It asks the kernel for SIGKILL when its parent dies (PR_SET_PDEATHSIG of prctl(2), which survives execve), moves
into ROOT unless that is ``/``, and becomes PROGRAM. A program of its own because a ``preexec_fn`` is not safe
where threads run.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, root, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):
            os._exit(1)
    if root != "/":
        os.chroot(root)
        os.chdir("/")
    os.execvp(command[0], command)


main()
