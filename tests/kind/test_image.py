"""The one image of operator, agents and NATS: small, and all that the chart starts from it starts."""

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from fixture_types import Measure
from kind_ground import CHART

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


@pytest.mark.parametrize("command", PROGRAMS, ids=lambda command: " ".join(command[:2]))
def test_what_is_started_from_the_image_starts(command: tuple[str, ...], image: str, measure: Measure) -> None:
    began = time.monotonic()
    done = subprocess.run(["docker", "run", *AS_IN_A_POD, image, *command], capture_output=True, text=True)
    if command[0] == "eventfed":
        measure("container of the image started, agent's program loaded and ended", time.monotonic() - began)
    assert PROGRAMS[command] in done.stdout + done.stderr
