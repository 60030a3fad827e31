"""What holds of every file of the repository."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 450

# Taken apart, so that this file does not hold what it looks for.
FOREIGN = [
    "".join(parts)
    for parts in (
        ("pypi", ".org"),
        ("python", "hosted.org"),
        ("index", "-url"),
        ("find", "-links"),
        ("registry", ".npmjs"),
        ("proxy", ".golang.org"),
        ("deb", ".debian.org"),
        ("/work", "/"),
    )
]


def files(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_module_is_longer_than_450_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files("*.py")}
    assert lengths
    too_long = {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST}
    assert not too_long, f"split what has several purposes: {too_long}"


def test_nothing_names_a_package_registry_or_a_developers_folder() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files()
        for word in FOREIGN
        if word in path.read_text(encoding="utf-8", errors="ignore")
    ]
    assert not found


def test_only_the_wing_of_jetstream_knows_its_headers() -> None:
    product = files("events/*.py", "agent/*.py", "operator/*.py", "cli/*.py")
    named = [path for path in product if "Nats-" in path.read_text(encoding="utf-8")]
    assert {path.parent.name for path in named} == {"jetstream"}


def test_no_code_compares_a_type_with_mailboxes_but_the_table_of_kinds_and_the_voicemail_module() -> None:
    product = files("events/*.py", "agent/*.py", "operator/*.py", "cli/*.py")
    named = {path.name for path in product if "EventType.MWI" in path.read_text(encoding="utf-8")}
    assert named == {"kinds.py", "event.py", "ast_event.py", "mailboxes.py"}


def test_only_the_wing_of_pjsip_and_the_doctor_that_probes_it_know_sip() -> None:
    product = files("events/*.py", "agent/*.py", "operator/*.py", "cli/*.py")
    stack = re.compile(r"^\s*from \S*\bsip\b|^\s*(from|import) .*\bsip\b", re.MULTILINE)
    status = re.compile(r"\.status (?:==|!=|in|not in) |\b(?:status|label) (?:==|!=) [\"']?[1-6]\d\d\b")
    importing = {path for path in product if stack.search(path.read_text(encoding="utf-8"))}
    assert {path.relative_to(ROOT).as_posix() for path in importing if "pjsip" not in path.parts} == {
        "cli/eventfed_cli/_doctor.py",
        "cli/eventfed_cli/_doctor_probes.py",
    }
    agent = [path for path in files("agent/*.py") if "pjsip" not in path.parts]
    assert not [path.name for path in agent if status.search(path.read_text(encoding="utf-8"))]
    nameless = (ROOT / "agent/eventfed_agent/agent.py").read_text(encoding="utf-8").lower()
    assert "pjsip" not in nameless
    assert not re.search(r"\bsip\b", nameless)


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in files("tests/*/test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_every_package_is_typed() -> None:
    for package in ("events/eventfed", "agent/eventfed_agent", "cli/eventfed_cli", "lab/eventfed_lab"):
        assert (ROOT / package / "py.typed").exists()


def test_the_wheel_of_the_product_holds_nothing_of_the_lab() -> None:
    product = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "lab" not in product["packages"]["find"]["where"]
    assert "eventfed_lab" not in product["package-dir"]
    named = [
        path
        for path in files("events/*.py", "agent/*.py", "operator/*.py", "cli/*.py")
        if "eventfed_lab" in path.read_text(encoding="utf-8")
    ]
    assert not named


@pytest.mark.parametrize("walk", ["A device's state from the datagram to NATS", "The same state from NATS to the"])
def test_a_change_walks_through_twelve_rooms_at_most_and_each_of_them_once(walk: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    steps = text.split(walk)[1].split("\n1. ")[1].split("\n\n")[0]
    rooms = re.findall(r"^(?:\d+\. )?`([\w/]+\.py)`", steps, re.MULTILINE)
    assert len(rooms) == 1 + len(re.findall(r"^\d+\. ", steps, re.MULTILINE))
    assert 6 < len(rooms) <= 12
    assert len(set(rooms)) == len(rooms)
    homes = (ROOT / "agent/eventfed_agent", ROOT / "events/eventfed")
    assert not [room for room in rooms if not any((home / room).is_file() for home in homes)]
