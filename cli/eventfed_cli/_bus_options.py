"""The options that say which federation on which NATS, the same for all commands that need one."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["BusOptions", "with_bus_options"]

_PANEL = "Which federation"


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, show_default=False, **more)


@dataclass(frozen=True)
class BusOptions:
    """As they were given. Each option replaces what the file says; secrets stand in files only."""

    config: Annotated[
        Path | None,
        _option("--config", help="Agent's TOML file: its [federation] and [nats] are used.", envvar="EVENTFED_CONFIG"),
    ] = None
    server: Annotated[
        list[str] | None, _option("--server", help="NATS URL, such as nats://127.0.0.1:4222; may be repeated.")
    ] = None
    federation: Annotated[str | None, _option("--federation", help="Name of the federation.")] = None
    site: Annotated[str | None, _option("--site", help="Site of the federation; without: local.")] = None
    prefix: Annotated[str | None, _option("--prefix", help="First token of all subjects; without: eventfed.")] = None
    user: Annotated[str | None, _option("--user", help="NATS user, with --password-file.")] = None
    password_file: Annotated[Path | None, _option("--password-file", help="File with the user's password.")] = None
    token_file: Annotated[Path | None, _option("--nats-token-file", help="File with a NATS token.")] = None
    credentials_file: Annotated[Path | None, _option("--credentials-file", help="NATS .creds file.")] = None
    nkey_seed_file: Annotated[Path | None, _option("--nkey-seed-file", help="File with an nkey's seed.")] = None
    ca_file: Annotated[Path | None, _option("--ca-file", help="Certificate authorities of NATS (PEM).")] = None
    certificate_file: Annotated[Path | None, _option("--certificate-file", help="Our certificate (PEM).")] = None
    key_file: Annotated[Path | None, _option("--key-file", help="Our certificate's key (PEM).")] = None
    timeout: Annotated[float, typer.Option(help="Seconds to wait for NATS.", min=0.1)] = 5.0


def with_bus_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command whose first parameter is `BusOptions` have each of them as an option."""
    fields = [field.name for field in dataclasses.fields(BusOptions)]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        bus = BusOptions(**{name: arguments.pop(name) for name in fields})
        command(bus, **arguments)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(BusOptions, eval_str=True).parameters.values()
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    return run
