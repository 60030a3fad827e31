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

from ._errors import AsteriskUnavailable, NamedUnusable

__all__ = ["AsteriskRoot", "obtain_asterisk"]

_OLDEST = 16
"""The oldest major version whose res_pjsip_publish_asterisk was tried."""
_NEWEST = 22
_SUITES = {_NEWEST: "sid", _OLDEST: "bullseye"}
"""Major version → the Debian suite that has it. Those between are in no suite of Debian's."""
_PACKAGES = ("asterisk", "asterisk-config", "asterisk-modules", "iproute2", "procps")
_MORE_PACKAGES = {"bullseye": ("asterisk-voicemail",)}
"""Suite → packages that hold what another suite has in ``asterisk-modules``."""
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

    @property
    def major(self) -> int:
        """Such as 22."""
        return int(re.split(r"\D", self.version)[0])


def obtain_asterisk(progress: Callable[[str], None] = lambda line: None, *, version: int | None = None) -> AsteriskRoot:
    """Find an Asterisk, or build one. Blocks: seconds to find, about half a minute to build.

    In this order: the root that EVENTFED_ASTERISK_ROOT names; an `asterisk` of version 16 or later on PATH; a
    root file system of Debian packages in the cache (EVENTFED_CACHE, else ``$XDG_CACHE_HOME/eventfed``, else
    ``~/.cache/eventfed``), built by mmdebstrap if it is not there yet. mmdebstrap itself is installed by apt-get
    where this is Debian and we are root. `progress` gets a line for each step that takes time.

    Args:
        version: this major version and no other: 16 or 22. The first two places count only if theirs is of it.

    Raises:
        AsteriskUnavailable: with the plain reason.
        NamedUnusable: EVENTFED_ASTERISK_ROOT or EVENTFED_CACHE names what cannot be used.
    """
    if version is not None and version not in _SUITES:
        raise AsteriskUnavailable(f"Asterisk {version} is in no suite of Debian: ask for one of {sorted(_SUITES)}")
    if (found := _at_hand(progress, version)) is not None:
        return found
    named = f"asterisk {version}" if version is not None else f"asterisk {_OLDEST} or later"
    if os.geteuid() != 0:
        raise AsteriskUnavailable(f"no {named} on PATH, and building a root file system needs root")
    suite = _SUITES[version or _NEWEST]
    packages = (*_PACKAGES, *_MORE_PACKAGES.get(suite, ()))
    key = hashlib.sha256("\n".join((suite, *packages, *_OPTIONS)).encode()).hexdigest()[:12]
    cache = _cache()
    root = cache / f"asterisk-{key}"
    with (cache / f"asterisk-{key}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds Asterisk's root file system")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _build(root, suite, packages, named, progress)
    return _of(_inspect(root, "built"), version)


def _at_hand(progress: Callable[[str], None], version: int | None) -> AsteriskRoot | None:
    """What need not be built, if it is of that version."""
    if given := os.environ.get("EVENTFED_ASTERISK_ROOT"):
        try:
            named = _inspect(Path(given), "environment")
        except AsteriskUnavailable as error:
            raise NamedUnusable(
                f"EVENTFED_ASTERISK_ROOT: {error}; name another root, or unset it to have one found or built"
            ) from None
        if version is None or named.major == version:
            return named
    if program := shutil.which("asterisk"):
        try:
            return _of(_inspect(Path("/"), "installed", program), version)
        except AsteriskUnavailable as error:
            progress(f"{error}; building one instead")
    return None


def _of(root: AsteriskRoot, version: int | None) -> AsteriskRoot:
    if version is not None and root.major != version:
        raise AsteriskUnavailable(f"the asterisk in {root.path} is {root.version}, not {version}")
    return root


def _cache() -> Path:
    """The cache's folder, which is there then."""
    given, base = os.environ.get("EVENTFED_CACHE"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "eventfed"
    if given and not folder.is_absolute():
        raise NamedUnusable(f"EVENTFED_CACHE: {given} depends on where a program is started: write an absolute path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        named = NamedUnusable if given else AsteriskUnavailable
        raise named(f"{'EVENTFED_CACHE: ' if given else ''}the folder {folder} cannot be made: {error}") from None
    return folder


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


def _build(root: Path, suite: str, packages: tuple[str, ...], named: str, progress: Callable[[str], None]) -> None:
    if not Path("/etc/debian_version").exists():
        raise AsteriskUnavailable(
            f"no {named} on PATH, and this is not Debian: install Asterisk, or name a "
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
        include = f"--include={','.join(packages)}"
        _run(
            ["mmdebstrap", "--variant=minbase", "--quiet", include, *_OPTIONS, suite, str(beside), *_sources(suite)],
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


def _sources(suite: str) -> list[str]:
    """Where mmdebstrap looks. For a suite that has left support it would add the security archive, whose packages
    are gone; so it is given the suite alone, from the archive that this machine's own packages come from."""
    if suite == _SUITES[_NEWEST]:
        return []
    release = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(COMPONENT) $(RELEASE) $(REPO_URI)"], capture_output=True, text=True
    ).stdout
    for line in listed.splitlines():
        component, name, uri = (*line.split(), "", "", "")[:3]
        if component == "main" and release is not None and name == release[1] and uri:
            return [f"deb {uri} {suite} main"]
    raise AsteriskUnavailable("apt-get names no archive of Debian's component main: see /etc/apt/sources.list")


def _run(command: list[str], failure: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment
    )
    if done.returncode != 0:
        raise AsteriskUnavailable(f"{failure}: {(done.stderr or done.stdout).strip()[-600:]}")
