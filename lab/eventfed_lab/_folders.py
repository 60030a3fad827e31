"""Directories of servers inside an Asterisk root."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import IO

from ._rootfs import AsteriskRoot

__all__ = ["claim_folder"]


def claim_folder(root: AsteriskRoot) -> tuple[Path, IO[bytes]]:
    """A new directory inside the root, locked as long as we live; those whose owner has gone are removed."""
    if root.path == Path("/"):
        parent = Path(tempfile.gettempdir(), f"eventfed-asterisk-{os.getuid()}")
    else:
        parent = root.path / "lab"
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
