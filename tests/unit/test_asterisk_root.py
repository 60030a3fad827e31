"""Where no Asterisk can be had, the reason is plain."""

import os
import stat
from pathlib import Path

import pytest

from eventfed_lab import AsteriskUnavailable, NamedUnusable, obtain_asterisk


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVENTFED_ASTERISK_ROOT", raising=False)
    monkeypatch.setenv("EVENTFED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(stat.S_IRWXU)


def test_a_user_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AsteriskUnavailable, match="needs root"):
        obtain_asterisk()


def test_a_given_root_without_asterisk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("EVENTFED_ASTERISK_ROOT", str(tmp_path))
    program(tmp_path / "bin", "asterisk", "echo Asterisk 22.10.1")  # what else could be had
    with pytest.raises(NamedUnusable, match=r"^EVENTFED_ASTERISK_ROOT: .* does not run: .*; name another root"):
        obtain_asterisk()


def test_a_cache_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "file").touch()
    for given, problem in ((str(tmp_path / "file" / "x"), "cannot be made"), ("here", "write an absolute path")):
        monkeypatch.setenv("EVENTFED_CACHE", given)
        with pytest.raises(NamedUnusable, match=f"^EVENTFED_CACHE: .*{problem}"):
            obtain_asterisk()


def test_an_old_installed_asterisk_is_told_and_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    program(tmp_path / "bin", "asterisk", "echo Asterisk 13.38.3")
    told: list[str] = []
    with pytest.raises(AsteriskUnavailable, match="needs root"):
        obtain_asterisk(told.append)
    assert "'Asterisk 13.38.3', not 16 or later" in told[0]


def test_a_build_that_fails_is_told_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not Path("/etc/debian_version").exists():
        pytest.skip("this is not Debian")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program(tmp_path / "bin", "mmdebstrap", 'for last; do :; done; mkdir "$last"; echo no such suite >&2; exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    told: list[str] = []
    with pytest.raises(AsteriskUnavailable, match="cannot be built: no such suite"):
        obtain_asterisk(told.append)
    assert told == ["building a root file system with Asterisk (about half a minute, once)"]
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_version_that_no_suite_has_is_told() -> None:
    with pytest.raises(AsteriskUnavailable, match=r"Asterisk 18 is in no suite of Debian: ask for one of \[16, 22\]"):
        obtain_asterisk(version=18)


def test_an_installed_asterisk_of_another_version_than_asked_for_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    program(tmp_path / "bin", "asterisk", "echo Asterisk 22.10.1")
    with pytest.raises(AsteriskUnavailable, match="no asterisk 16 on PATH"):
        obtain_asterisk(version=16)


def test_version_16_is_built_from_the_suite_that_has_it_and_with_its_voicemail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not Path("/etc/debian_version").exists():
        pytest.skip("this is not Debian")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program(tmp_path / "bin", "mmdebstrap", f'echo "$@" > {tmp_path}/arguments; exit 3')
    codename = Path("/etc/os-release").read_text().partition("VERSION_CODENAME=")[2].split()[0]
    program(tmp_path / "bin", "apt-get", f"echo non-free {codename} x; echo main {codename} mirror:/debian/")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    with pytest.raises(AsteriskUnavailable, match="cannot be built"):
        obtain_asterisk(version=16)
    arguments = (tmp_path / "arguments").read_text()
    assert "asterisk-voicemail" in arguments
    assert arguments.strip().endswith("deb mirror:/debian/ bullseye main")
