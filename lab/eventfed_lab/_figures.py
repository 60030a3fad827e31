"""What the kernel knows of a process."""

import os
from dataclasses import dataclass
from pathlib import Path

from ._errors import LabError

__all__ = ["ProcessFigures", "process_figures"]


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What one process uses, or has used until now."""

    processor_seconds: float
    """User and system time of all its threads (fields 14 and 15 of proc(5) ``stat``)."""
    resident_bytes: int
    """``VmRSS`` of proc(5) ``status``."""
    descriptors: int
    """Open file descriptors."""
    threads: int


def process_figures(pid: int) -> ProcessFigures:
    """Read ``/proc/<pid>``.

    Raises:
        LabError: if it does not run, or this is not Linux.
    """
    folder = Path(f"/proc/{pid}")
    try:
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        descriptors = len(list((folder / "fd").iterdir()))
    except OSError as error:
        raise LabError(f"no figures for process {pid}: {error}") from error
    if "VmRSS" not in status:
        raise LabError(f"process {pid} has ended")
    return ProcessFigures(
        processor_seconds=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=descriptors,
        threads=int(status["Threads"]),
    )
