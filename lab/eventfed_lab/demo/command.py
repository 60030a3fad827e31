"""The command ``eventfed demo``, which the command `eventfed` finds by its entry point."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["demo"]


def demo(
    kind: Annotated[
        Literal["auto", "asterisk", "simulated"],
        typer.Option("--kind", help="Real Asterisk, simulated servers, or what can be had."),
    ] = "auto",
    check: Annotated[
        bool, typer.Option("--check", help="No terminal, no pauses; exit code 1 if a step fails.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As --check, and print one JSON document at the end.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the final table into this file.")] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="On the kind cluster of KUBECONFIG: chart, operator and Asterisk pods.")
    ] = False,
    checkout: Annotated[
        Path, typer.Option("--checkout", help="With --cluster: the folder of the chart and the examples.")
    ] = Path("."),
) -> None:
    """Three servers, three agents and one NATS server on this machine: see lamps and device states cross.

    A voicemail is left on the first server and a phone is called there, and a table shows when the others know. Then
    the first server is killed, and its states go. Real Asterisk where one can be had (installed, or built from Debian
    packages where we are root), else simulated servers; it says which. All ends with it.

    \b
    Examples:
      $ eventfed demo
      $ eventfed demo --check --json --kind simulated
      $ KUBECONFIG=tests/kind/kubeconfig eventfed demo --cluster
    """
    from .grounds import ClusterGround, LocalGround
    from .play import run

    if cluster and kind == "simulated":
        raise typer.BadParameter("--cluster has real Asterisk pods: leave --kind simulated out")
    make = partial(ClusterGround, checkout) if cluster else partial(LocalGround, kind)
    run(make, check=check or json, as_json=json, svg=svg)
