"""What ``make package`` makes: a chart archive and a plain manifest that an API server takes, and their checksums."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from eventfed_lab import ControlPlane
from manifest import plain_manifest
from tests.ground.cluster_api import Api
from tests.ground.installation import CHART, helm

ROOT = CHART.parents[1]


@pytest.fixture(scope="module")
def package(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ of a fresh copy of the sources, made without docker and with nothing kept from before."""
    copy = tmp_path_factory.mktemp("sources") / "eventfed"
    made = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*made), symlinks=True)
    left = copy / "build" / "lib" / "eventfed" / "of_an_earlier_build.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    environment = {
        **os.environ,
        "PATH": f"{plane.programs}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "IMAGE": "registry.example/telephony/eventfed",
        "DOCKER_HOST": "unix:///nowhere",
    }
    done = subprocess.run(
        [copy / "release" / "package.sh"], env=environment, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert "no docker: dist/ has no image archive" in done.stderr
    return copy / "dist"


def test_it_holds_what_is_needed_and_the_checksums_of_all(package: Path) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    wanted = {"-py3-none-any.whl", ".tgz", ".yaml", ".cdx.json"}
    assert {path.name for path in package.iterdir()} == {"SHA256SUMS"} | {f"eventfed-{version}{end}" for end in wanted}
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=package, check=True, capture_output=True)
    assert len((package / "SHA256SUMS").read_text().splitlines()) == len(wanted)
    with zipfile.ZipFile(next(package.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert "eventfed/py.typed" in names
    assert "eventfed_operator/py.typed" in names
    assert not [name for name in names if "of_an_earlier_build" in name]


def test_the_chart_archive_is_the_chart(plane: ControlPlane, package: Path) -> None:
    archive = next(package.glob("*.tgz"))
    with tarfile.open(archive) as opened:
        inside = {name.removeprefix("eventfed/") for name in opened.getnames()}
    assert inside == {str(path.relative_to(CHART)) for path in CHART.rglob("*") if path.is_file()}
    command = ("--namespace", "eventfed", "--kube-version", "1.34.0", "--set", "nats.existingSecret=mine")
    assert helm(plane, "template", "eventfed", archive, *command).stdout == (
        helm(plane, "template", "eventfed", CHART, *command).stdout
    )


def test_the_api_server_takes_the_plain_manifest_which_holds_no_password(
    plane: ControlPlane, api: Api, package: Path
) -> None:
    text = next(package.glob("*.yaml")).read_text()
    objects = [one for one in yaml.safe_load_all(text) if one]
    assert objects[0]["kind"] == "Namespace"
    assert {one["kind"] for one in objects} >= {"CustomResourceDefinition", "Deployment", "StatefulSet", "Service"}
    assert "Secret" not in {one["kind"] for one in objects}
    cluster = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    assert {one["metadata"].get("namespace") for one in objects if one["kind"] not in cluster} == {"eventfed"}
    images = {
        container["image"]
        for one in objects
        if one["kind"] in ("Deployment", "StatefulSet")
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert len(images) == 1
    assert images.pop().startswith("registry.example/telephony/eventfed:")
    api.apply(objects[0])
    told = plane.kubectl("apply", "--dry-run=server", "-f", "-", text=text)
    assert len(told.stdout.splitlines()) == len(objects)
    assert "Warning" not in told.stderr.replace(
        # The definition and the namespace were made by this suite in another way.
        "Warning: resource",
        "resource",
    )


def test_it_says_how_the_passwords_are_made(plane: ControlPlane, api: Api, package: Path) -> None:
    lines = next(package.glob("*.yaml")).read_text().partition("apiVersion")[0].splitlines()
    told = [line.removeprefix("#").strip() for line in lines]
    begin = next(index for index, line in enumerate(told) if line.startswith("kubectl create secret"))
    command = " ".join(line.removesuffix("\\") for line in told[begin : begin + 2])
    environment = {**plane.environment, "PATH": f"{plane.programs}:{os.environ['PATH']}"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "eventfed"}})
    made = subprocess.run(
        ["bash", "-euc", f"{command} --dry-run=server --output yaml"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    secret = yaml.safe_load(made.stdout)
    assert secret["metadata"]["namespace"] == "eventfed"
    assert secret["data"].keys() == {"operator", "agent", "route"}
    assert len(set(secret["data"].values())) == 3


def test_the_manifest_is_the_same_each_time(plane: ControlPlane) -> None:
    program = str(plane.programs / "helm")
    assert plain_manifest(program, "eventfed") == plain_manifest(program, "eventfed")
