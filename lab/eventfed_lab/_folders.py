"""Directories of servers, which no crash leaves behind for long."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import IO

__all__ = ["claim_folder", "release_folder"]


def claim_folder(kind: str, *, inside: Path = Path("/")) -> tuple[Path, IO[bytes]]:
    """A new directory for a server, with the lock that holds it; those whose owner has gone are removed.

    It is in ``/lab`` of the root `inside`, or among the machine's temporary files where that is ``/``.
    """
    shared = Path(tempfile.gettempdir(), f"{kind}-{os.getuid()}")
    parent = shared if inside == Path("/") else inside / "lab"
    parent.mkdir(mode=0o755, exist_ok=True)
    folder = parent / uuid.uuid4().hex[:12]
    beside = parent / f"{folder.name}.lock"
    with (parent / "lock").open("ab") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for old in parent.glob("*.lock"):
            with old.open("ab") as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old.with_suffix(""), ignore_errors=True)
                old.unlink()
        claim = beside.open("ab")
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.mkdir()
    return folder, claim


def release_folder(folder: Path, claim: IO[bytes]) -> None:
    """Remove it; harmless if it has been."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(claim.name).unlink(missing_ok=True)
    claim.close()
