"""Where a real Asterisk comes from: a given root, the machine's own, or one built from Debian packages."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ._errors import AsteriskUnavailable

__all__ = ["AsteriskRoot", "obtain_asterisk"]

_OLDEST = 16
"""The oldest major version whose res_pjsip_publish_asterisk was tried."""
_SUITE = "sid"
_PACKAGES = ("asterisk", "asterisk-config", "asterisk-modules", "iproute2", "procps")
_OPTIONS = (
    # Mirrors may serve sid past its Valid-Until; signatures are still verified.
    "--aptopt=Acquire::Check-Valid-Until \"false\"",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "locale", "info")),
)  # fmt: skip
_NEEDED = ("res_pjsip_publish_asterisk.so", "res_pjsip_outbound_publish.so", "app_voicemail.so")


@dataclass(frozen=True)
class AsteriskRoot:
    """A file system with Asterisk in it."""

    path: Path
    """``/`` is this machine's own; servers of any other root run in a chroot."""
    modules: str
    """Asterisk's module directory, as seen from inside."""
    version: str
    """Such as ``22.10.1``."""
    source: Literal["environment", "installed", "built"]


def obtain_asterisk(progress: Callable[[str], None] = lambda line: None) -> AsteriskRoot:
    """Find an Asterisk, or build one. Blocks: seconds to find, about half a minute to build.

    In this order: the root that EVENTFED_ASTERISK_ROOT names; an `asterisk` of version 16 or later on PATH; a
    root file system of Debian packages in the cache (EVENTFED_CACHE, else ``$XDG_CACHE_HOME/eventfed``, else
    ``~/.cache/eventfed``), built by mmdebstrap if it is not there yet. mmdebstrap itself is installed by apt-get
    where this is Debian and we are root. `progress` gets a line for each step that takes time.

    Raises:
        AsteriskUnavailable: with the plain reason.
    """
    if given := os.environ.get("EVENTFED_ASTERISK_ROOT"):
        return _inspect(Path(given), "environment")
    if program := shutil.which("asterisk"):
        try:
            return _inspect(Path("/"), "installed", program)
        except AsteriskUnavailable as error:
            progress(f"{error}; building one instead")
    if os.geteuid() != 0:
        raise AsteriskUnavailable(f"no asterisk {_OLDEST} or later on PATH, and building a root file system needs root")
    key = hashlib.sha256("\n".join((_SUITE, *_PACKAGES, *_OPTIONS)).encode()).hexdigest()[:12]
    cache = _cache()
    root = cache / f"asterisk-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"asterisk-{key}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds Asterisk's root file system")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _build(root, progress)
    return _inspect(root, "built")


def _cache() -> Path:
    if given := os.environ.get("EVENTFED_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "eventfed"


def _inspect(path: Path, source: Literal["environment", "installed", "built"], program: str = "") -> AsteriskRoot:
    path = path.resolve()
    if path != Path("/") and os.geteuid() != 0:
        raise AsteriskUnavailable(f"running Asterisk in {path} needs root (chroot)")
    command = [program or "/usr/sbin/asterisk", "-V"]
    if path != Path("/"):
        command = ["chroot", str(path), *command]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise AsteriskUnavailable(f"the asterisk in {path} does not run: {error}") from error
    found = re.search(r"Asterisk (?:GIT-|certified[-/])?((\d+)[\w.]*)", answer)
    if found is None or int(found[2]) < _OLDEST:
        raise AsteriskUnavailable(f"the asterisk in {path} is {answer.strip()!r}, not {_OLDEST} or later")
    folders = [*path.glob("usr/lib/*/asterisk/modules"), *path.glob("usr/lib*/asterisk/modules")]
    for folder in folders:
        if all((folder / module).exists() for module in _NEEDED):
            return AsteriskRoot(path, f"/{folder.relative_to(path)}", found[1], source)
    raise AsteriskUnavailable(f"the asterisk in {path} lacks one of {', '.join(_NEEDED)}")


def _build(root: Path, progress: Callable[[str], None]) -> None:
    if not Path("/etc/debian_version").exists():
        raise AsteriskUnavailable(
            f"no asterisk {_OLDEST} or later on PATH, and this is not Debian: install Asterisk, or name a "
            "root file system in EVENTFED_ASTERISK_ROOT"
        )
    if shutil.which("mmdebstrap") is None:
        progress("installing mmdebstrap")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "mmdebstrap"]):
            _run(["apt-get", "-qq", *arguments], "mmdebstrap cannot be installed", environment)
    progress("building a root file system with Asterisk (about half a minute, once)")
    beside = root.with_name(f"{root.name}.building")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        include = f"--include={','.join(_PACKAGES)}"
        _run(
            ["mmdebstrap", "--variant=minbase", "--quiet", include, *_OPTIONS, _SUITE, str(beside)],
            "the root file system with Asterisk cannot be built",
            dict(os.environ),
        )
        # Nothing leaves the machine: Asterisk asks for its own host's name at each start.
        (beside / "etc/resolv.conf").write_text("")
        (beside / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        beside.rename(root)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    progress("Asterisk is ready")


def _run(command: list[str], failure: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment
    )
    if done.returncode != 0:
        raise AsteriskUnavailable(f"{failure}: {(done.stderr or done.stdout).strip()[-600:]}")
