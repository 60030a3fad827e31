"""A release of the chart on a real API server: installed, upgraded from the chart before, uninstalled."""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventfed_lab import ControlPlane
from tests.ground.cluster_api import Api, eventually, federation
from tests.ground.installation import CHART, helm

ROOT = CHART.parents[1]
DEFINITION = "eventfederations.eventfed.io"
RELEASE = ("eventfed", "--namespace", "eventfed")


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.fixture
def chart_before(plane: ControlPlane, tmp_path: Path) -> Path:
    """The chart of the last commit in which it was another one."""
    try:
        commits = git("log", "--format=%H", "--", "charts/eventfed").decode().split()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the history cannot be read: {error}")
    here = tree(CHART)
    for commit in commits:
        folder = tmp_path / commit
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "charts/eventfed"))) as archive:
            archive.extractall(folder, filter="data")
        chart = folder / "charts" / "eventfed"
        if tree(chart) != here and renders(plane, chart):
            return chart
    pytest.skip("the history holds no other chart that Helm can read: it is a shallow clone, or the first one")


def tree(chart: Path) -> dict[str, bytes]:
    return {str(path.relative_to(chart)): path.read_bytes() for path in chart.rglob("*") if path.is_file()}


def renders(plane: ControlPlane, chart: Path) -> bool:
    told = helm(plane, "template", "eventfed", chart, "--kube-version", "1.34.0", check=False)
    return told.returncode == 0


@pytest.fixture(autouse=True)
def eventfed_namespace(plane: ControlPlane, api: Api) -> Iterator[None]:
    """For releases; afterwards the definition is the present one again."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "eventfed"}})
    yield
    helm(plane, "uninstall", *RELEASE, "--ignore-not-found")
    api.delete("Secret", "eventfed", "eventfed-nats")
    api.apply(present_definition(), manager="helm")


def present_definition() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "files" / "eventfederations.yaml").read_text())
    return loaded


def install(plane: ControlPlane, chart: Path, *more: str) -> str:
    """The definition is there before the release, as after another release was uninstalled."""
    return helm(plane, "install", *RELEASE[:1], chart, *RELEASE[1:], "--take-ownership", *more).stdout


def secret(api: Api) -> dict[str, str]:
    data: dict[str, str] = api.get("Secret", "eventfed", "eventfed-nats")["data"]
    return data


def test_an_upgrade_keeps_the_passwords_and_brings_the_definition_along(
    plane: ControlPlane, api: Api, chart_before: Path, namespace: str
) -> None:
    install(plane, chart_before)
    before = secret(api)
    assert before.keys() == {"operator", "agent", "route"}
    assert len(set(before.values())) == 3
    served = api.get("CustomResourceDefinition", "", DEFINITION)["spec"]["versions"]
    old = yaml.safe_load((chart_before / "files" / "eventfederations.yaml").read_text())["spec"]["versions"]
    assert schema(served) == schema(old)
    api.create(federation(namespace))
    kept = api.get("EventFederation", namespace, "pbx")
    helm(plane, "upgrade", *RELEASE[:1], CHART, *RELEASE[1:])
    assert secret(api) == before
    eventually(
        lambda: (
            schema(api.get("CustomResourceDefinition", "", DEFINITION)["spec"]["versions"])
            == schema(present_definition()["spec"]["versions"])
        )
    )
    assert api.get("EventFederation", namespace, "pbx")["spec"] == kept["spec"]
    helm(plane, "upgrade", *RELEASE[:1], CHART, *RELEASE[1:], "--set", "operator.replicas=1,nats.replicas=3")
    assert secret(api) == before


def schema(versions: list[dict[str, Any]]) -> Any:
    return versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_uninstalling_keeps_the_definition_and_the_event_federations_and_installing_again_takes_them(
    plane: ControlPlane, api: Api, namespace: str
) -> None:
    install(plane, CHART)
    made, passwords = api.create(federation(namespace)), secret(api)
    helm(plane, "uninstall", *RELEASE)
    assert api.find("ServiceAccount", "eventfed", "eventfed-operator") is None
    assert secret(api) == passwords, "NATS's volume stays, and the agents that log in to it"
    assert api.get("EventFederation", namespace, "pbx")["metadata"]["uid"] == made["metadata"]["uid"]
    helm(plane, "install", *RELEASE[:1], CHART, *RELEASE[1:])
    assert secret(api) == passwords
    assert api.get("EventFederation", namespace, "pbx")["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_release_of_another_name_says_that_the_definition_is_taken_and_takes_it_when_told_to(
    plane: ControlPlane, api: Api
) -> None:
    install(plane, CHART)
    helm(plane, "uninstall", *RELEASE)
    told = helm(plane, "install", "other", CHART, *RELEASE[1:], check=False)
    assert told.returncode == 1
    assert "cannot be imported into the current release" in told.stderr
    helm(plane, "install", "other", CHART, *RELEASE[1:], "--take-ownership")
    assert api.find("ServiceAccount", "eventfed", "other-eventfed-operator")
    helm(plane, "uninstall", "other", *RELEASE[1:])


@pytest.mark.parametrize(
    ("values", "watched", "place"),
    [
        ("operator.replicas=2", "all namespaces", "voice"),
        ("operator.namespaces={voice-a,voice-b}", "voice-a, voice-b", "voice-a"),
        ("nats.enabled=false", "all namespaces", "voice"),
    ],
)
def test_the_notes_can_be_followed_word_by_word(
    plane: ControlPlane, api: Api, values: str, watched: str, place: str
) -> None:
    for name in ("voice", "voice-a", "voice-b"):
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    notes = install(plane, CHART, "--dry-run=server", "--set", values).partition("NOTES:\n")[2]
    assert f"watches {watched}." in notes
    example = yaml.safe_load(notes.partition("<<EOF\n")[2].partition("  EOF")[0])
    assert example["metadata"]["namespace"] == place
    assert ("nats" in example["spec"]) == (values == "nats.enabled=false")
    command = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    plane.kubectl(*command, text=json.dumps(example))
    assert f"kubectl wait --for=condition=Ready evfed/pbx -n {place} --timeout=90s" in notes
    assert f"kubectl describe evfed/pbx -n {place}" in notes
    assert """kubectl patch evfed NAME -n NAMESPACE --type=merge -p '{"metadata":{"finalizers":null}}'""" in notes


def test_passwords_are_not_made_where_a_secret_of_ones_own_is_named(plane: ControlPlane, api: Api) -> None:
    install(plane, CHART, "--set", "nats.existingSecret=mine")
    assert api.find("Secret", "eventfed", "eventfed-nats") is None
