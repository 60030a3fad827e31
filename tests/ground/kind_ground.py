"""What the tests on a kind cluster share."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from eventfed_lab import ClusterPbx

__all__ = ["APART", "CHART", "CHECKOUT", "FOLDER", "PbxFactory"]

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "tests/kind"
CHART = CHECKOUT / "charts/eventfed"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
APART = tuple(
    option
    for part in ("operator", "nats")
    for option in (
        "--set-string",
        rf"{part}.nodeSelector.{CONTROL_PLANE.replace('.', chr(92) + '.')}=",
        "--set-json",
        f'{part}.tolerations=[{{"key": "{CONTROL_PLANE}", "operator": "Exists"}}]',
    )
)
"""Options of helm: NATS and the operator on a node of their own, so that the workers can be taken away."""

PbxFactory = Callable[..., Awaitable[ClusterPbx]]
