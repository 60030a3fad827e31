"""The one image of operator, agents and NATS: small, and all that the chart starts from it starts."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ground.fixture_types import Measure
from tests.ground.kind_ground import CHART

ROOT = CHART.parents[1]
LARGEST = 150_000_000
"""Bytes."""
AS_IN_A_POD = ("--rm", "--read-only", "--network", "none", "--user", "10001:10001", "--cap-drop", "ALL")
PROGRAMS = {
    ("eventfed", "agent", "--help"): "--config",
    ("nats-server", "--version"): "nats-server: v2.",
    ("python3", "-c", "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 100)"): "True",
    ("python3", "-c", "import eventfed_operator.process as p; print(p.main({}))"): "EVENTFED_IMAGE",
}


@pytest.fixture(scope="module")
def image(kubeconfig: Path) -> str:
    """The image of this checkout; it is in the cluster already."""
    assert kubeconfig.exists()
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    return f"eventfed:{version}"


def test_the_image_is_small(image: str, measure: Measure) -> None:
    told = subprocess.run(["docker", "image", "inspect", "-f", "{{.Size}}", image], capture_output=True, check=True)
    size = int(told.stdout)
    measure("image eventfed, unpacked", size / 1e6, "MB")
    assert size < LARGEST


def test_the_image_holds_nothing_of_the_lab_and_says_where_the_demo_is(image: str) -> None:
    assert "eventfed-lab" not in installed(image)
    program = "import importlib.util as u; print(u.find_spec('eventfed_lab'))"
    for command, told in ((("python3", "-c", program), "None"), (("eventfed", "demo"), "comes with eventfed-lab")):
        done = subprocess.run(["docker", "run", *AS_IN_A_POD, image, *command], capture_output=True, text=True)
        assert told in done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_clone_makes_the_same_image_on_a_plain_base(image: str, tmp_path: Path) -> None:
    """As ``docker build .``, but that the base is one of Debian's packages: no registry of images is reached here."""
    base = next(one for one in ("eventfed-base:bookworm", "eventfed-base:trixie") if inspect(one))
    # A machine behind a mirror of its own trusts more authorities than a plain image.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", tmp_path / "authorities")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nCOPY authorities /etc/ssl/certs/ca-certificates.crt\n"
        "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt\n"
    )
    build("--tag", "eventfed-plain-base", tmp_path)
    build("--network", "host", "--build-arg", "BASE=eventfed-plain-base", "--tag", "eventfed-of-a-clone", ROOT)
    try:
        for command, told in PROGRAMS.items():
            done = subprocess.run(
                ["docker", "run", *AS_IN_A_POD, "eventfed-of-a-clone", *command], capture_output=True, text=True
            )
            assert told in done.stdout + done.stderr
        labels = inspect("eventfed-of-a-clone")["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == image.partition(":")[2]
        assert installed("eventfed-of-a-clone") == installed(image)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", "eventfed-of-a-clone", "eventfed-plain-base"], check=True)


def installed(image: str) -> str:
    """The packages in an image, with their versions."""
    program = "from importlib.metadata import distributions as d; print(sorted((o.name, o.version) for o in d()))"
    return subprocess.run(
        ["docker", "run", *AS_IN_A_POD, image, "python3", "-c", program], capture_output=True, text=True, check=True
    ).stdout


def inspect(image: str) -> dict[str, Any]:
    """What docker knows of an image; empty if there is none."""
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)[0] if done.returncode == 0 else {}
    return found


def build(*arguments: str | Path) -> None:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(["docker", "build", *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", PROGRAMS, ids=lambda command: " ".join(command[:2]))
def test_what_is_started_from_the_image_starts(command: tuple[str, ...], image: str, measure: Measure) -> None:
    began = time.monotonic()
    done = subprocess.run(["docker", "run", *AS_IN_A_POD, image, *command], capture_output=True, text=True)
    if command[0] == "eventfed":
        measure("container of the image started, agent's program loaded and ended", time.monotonic() - began)
    assert PROGRAMS[command] in done.stdout + done.stderr
