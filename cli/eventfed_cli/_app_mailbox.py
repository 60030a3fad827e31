"""``eventfed mailbox``: its options and help."""

from typing import Annotated

import typer

from ._bus_options import BusOptions, with_bus_options
from ._exits import EXIT_CODES

__all__ = ["mailbox"]

mailbox = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What servers say of their mailboxes.")


@mailbox.callback()
def _group() -> None:
    """What servers say of their mailboxes."""


@mailbox.command("forget", epilog=EXIT_CODES)
@with_bus_options
def forget(
    bus: BusOptions,
    *,
    name: Annotated[str, typer.Argument(help="Such as 1001@default.", show_default=False)],
    eid: Annotated[str, typer.Option("--eid", help="Which server's count, such as 02:00:00:00:00:0a.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Take a server's count of a mailbox back, until that server names the mailbox again.

    For a mailbox that was taken out of voicemail.conf, or of a server that is gone for good. It waits until the count
    has gone. Exit code 1 if the server says nothing of the mailbox, or its agent does not forget it.

    \b
    Examples:
      $ eventfed mailbox forget 1001@default --eid 02:00:00:00:00:0a --config agent.toml
      $ eventfed mailbox forget 1001@default --eid 02:00:00:00:00:0a --config agent.toml --json
    """
    from eventfed import EID
    from eventfed_agent.members.mailboxes import mailbox_key

    if "/" in name:
        raise typer.BadParameter(f"{name!r} is a device: mailboxes are written 1001@default")
    from ._bus import resolve
    from ._forgetting import forget_mailbox

    forget_mailbox(resolve(bus), mailbox_key(name, EID.parse(eid)), as_json=json)
