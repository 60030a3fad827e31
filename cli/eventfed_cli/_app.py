"""The subcommands: their options and help. What they do is imported when they run: an agent must stay small."""

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ._app_mailbox import mailbox
from ._bus_options import BusOptions, with_bus_options
from ._exits import EXIT_CODES, Exit
from ._plugins import Commands

if TYPE_CHECKING:
    from eventfed import Event

    from ._states import StateFilter

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Makes many Asterisk servers behave as one for voicemail lamps and device state, over NATS.",
    epilog=EXIT_CODES,
)
state = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The states of a federation.")
publish = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Publish one state from the command line.")
app.add_typer(state, name="state", epilog=EXIT_CODES)
app.add_typer(publish, name="publish", epilog=EXIT_CODES)
app.add_typer(mailbox, name="mailbox", epilog=EXIT_CODES)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Eid = Annotated[str | None, typer.Option("--eid", help="Only this server, such as 02:00:00:00:00:0a.")]
OwnEid = Annotated[str, typer.Option("--eid", help="Whose state it is, such as 02:00:00:00:00:0a.")]
Hold = Annotated[bool, typer.Option("--hold", help="Claim a lease for the EID and keep the state until Ctrl-C.")]
Config = Annotated[
    Path, typer.Option("--config", help="The agent's TOML file.", envvar="EVENTFED_CONFIG", show_default=False)
]
Transport = Literal["udp", "tcp"]
CheckFormat = Literal["text", "nagios", "zabbix", "json"]
PbxDistribution = Literal["freepbx", "wazo", "vitalpbx"]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eventfed {metadata.version('eventfed')}")
        raise typer.Exit(Exit.OK)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Makes many Asterisk servers behave as one for voicemail lamps and device state, over NATS."""


@app.command(epilog=EXIT_CODES)
def agent(config: Config) -> None:
    """Run an agent until SIGTERM; the file is read again when it changes.

    \b
    Example:
      $ eventfed agent --config agent.toml
    """
    from ._agent import run

    run(config)


@app.command(epilog=EXIT_CODES)
def validate(
    file: Annotated[Path, typer.Argument(help="The agent's TOML file.", show_default=False)],
    files: Annotated[
        bool, typer.Option("--files", help="Read the files that it names (secrets, keys) as well.")
    ] = False,
    json: Json = False,
) -> None:
    """Check an agent's file: one line for each thing that is wrong.

    \b
    Examples:
      $ eventfed validate agent.toml
      $ eventfed validate agent.toml --files --json
    """
    from ._validate import run

    run(file, files=files, as_json=json)


@app.command(epilog=EXIT_CODES)
def schema() -> None:
    """Print the JSON Schema of an agent's file, by which an editor completes and checks it.

    \b
    Examples:
      $ eventfed schema > agent.schema.json
    """
    from ._schema import run

    run()


@app.command(epilog=EXIT_CODES)
@with_bus_options
def members(bus: BusOptions, *, json: Json = False) -> None:
    """List the servers that an agent serves at present, and Custom: devices that several of them announce.

    \b
    Examples:
      $ eventfed members --config agent.toml
      $ eventfed members --server nats://127.0.0.1:4222 --federation pbx --json
    """
    from ._bus import resolve
    from ._queries import list_members

    list_members(resolve(bus), as_json=json)


@state.command("list", epilog=EXIT_CODES)
@with_bus_options
def state_list(
    bus: BusOptions,
    *,
    type: Annotated[str | None, typer.Option("--type", help="Only states of this type.")] = None,
    eid: Eid = None,
    name: Annotated[str | None, typer.Option("--name", help="Only names in which this pattern is found.")] = None,
    json: Json = False,
) -> None:
    """List every server's value of every device and mailbox.

    \b
    Examples:
      $ eventfed state list --config agent.toml
      $ eventfed state list --config agent.toml --type mwi --name '^10' --json
    """
    from ._bus import resolve
    from ._queries import list_states

    list_states(resolve(bus), _selection(type, eid, name), as_json=json)


@state.command("get", epilog=EXIT_CODES)
@with_bus_options
def state_get(
    bus: BusOptions,
    *,
    name: Annotated[str, typer.Argument(help="Device (PJSIP/1001) or mailbox (1001@default).", show_default=False)],
    json: Json = False,
) -> None:
    """Show every server's value of one device or mailbox, and what they make together.

    Devices are put together by Asterisk's rank, mailboxes by their sum. Exit code 1 if no server knows the name.

    \b
    Examples:
      $ eventfed state get PJSIP/1001 --config agent.toml
      $ eventfed state get 1001@default --config agent.toml --json
    """
    from ._bus import resolve
    from ._queries import get_state

    get_state(resolve(bus), name, as_json=json)


@state.command("watch", epilog=EXIT_CODES)
@with_bus_options
def state_watch(
    bus: BusOptions,
    *,
    type: Annotated[str | None, typer.Option("--type", help="Only states of this type.")] = None,
    eid: Eid = None,
    name: Annotated[str | None, typer.Option("--name", help="Only names in which this pattern is found.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line and change.")] = False,
) -> None:
    """Show states as they change, until Ctrl-C: a live table, or one line for each change where there is no terminal.

    First comes what there is, then "synced", then what changes.

    \b
    Examples:
      $ eventfed state watch --config agent.toml
      $ eventfed state watch --config agent.toml --type device_state --json
    """
    from ._bus import resolve
    from ._queries import watch_states

    watch_states(resolve(bus), _selection(type, eid, name), as_json=json)


@publish.command("device", epilog=EXIT_CODES)
@with_bus_options
def publish_device(
    bus: BusOptions,
    *,
    name: Annotated[str, typer.Argument(help="Such as Custom:lamp1.", show_default=False)],
    state: Annotated[str, typer.Argument(help="Such as INUSE, NOT_INUSE, BUSY, RINGING, ONHOLD.", show_default=False)],
    eid: OwnEid,
    hold: Hold = False,
) -> None:
    """Publish one state of one device.

    Without --hold it goes after the grace, unless an agent holds the lease of that EID.

    \b
    Examples:
      $ eventfed publish device Custom:lamp1 INUSE --eid 02:00:00:00:00:99 --config agent.toml
      $ eventfed publish device Custom:night BUSY --eid 02:00:00:00:00:99 --config agent.toml --hold
    """
    from eventfed import EID, DeviceState, Event

    _publish(bus, Event.device(name, DeviceState.parse(state.upper()), EID.parse(eid)), hold)


@publish.command("mailbox", epilog=EXIT_CODES)
@with_bus_options
def publish_mailbox(
    bus: BusOptions,
    *,
    name: Annotated[str, typer.Argument(help="Such as 1001@default.", show_default=False)],
    new: Annotated[int, typer.Argument(min=0, help="New messages.", show_default=False)],
    old: Annotated[int, typer.Argument(min=0, help="Old messages.", show_default=False)],
    eid: OwnEid,
    hold: Hold = False,
) -> None:
    """Publish the message counts of one mailbox.

    Without --hold they go after the grace, unless an agent holds the lease of that EID.

    \b
    Example:
      $ eventfed publish mailbox 1001@default 1 0 --eid 02:00:00:00:00:99 --config agent.toml
    """
    from eventfed import EID, Event

    _publish(bus, Event.mailbox(name, new, old, EID.parse(eid)), hold)


@app.command(epilog=EXIT_CODES)
@with_bus_options
def refresh(bus: BusOptions, *, eid: Eid = None) -> None:
    """Ask agents to have their servers tell all their states again. Nobody confirms it.

    \b
    Examples:
      $ eventfed refresh --config agent.toml
      $ eventfed refresh --eid 02:00:00:00:00:0a --config agent.toml
    """
    from ._bus import resolve
    from ._queries import refresh

    refresh(resolve(bus), _selection(None, eid, None).eid)


@app.command("asterisk-config", epilog=EXIT_CODES)
def asterisk_config(
    agent: Annotated[str | None, typer.Option("--agent", help="Where the agent listens, ADDRESS:PORT.")] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="File with the header secret.")] = None,
    previous_token_file: Annotated[
        Path | None, typer.Option("--previous-token-file", help="File with the secret that is being replaced.")
    ] = None,
    transport: Annotated[Transport, typer.Option("--transport", help="How the server reaches the agent.")] = "udp",
    config: Annotated[
        Path | None, typer.Option("--config", help="The agent's TOML file, with --member.", show_default=False)
    ] = None,
    member: Annotated[str | None, typer.Option("--member", help="Which of the file's members it is for.")] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", help="With --agent: each include of the agent's device_state events."),
    ] = None,
    expiration: Annotated[int, typer.Option("--expiration", help="Of the publications, in seconds.")] = 60,
    distribution: Annotated[
        PbxDistribution | None,
        typer.Option("--for", help="A distribution that writes pjsip.conf itself: say where the lines survive."),
    ] = None,
) -> None:
    """Print the part of pjsip.conf by which a server talks with its agent; include it at the end of that file.

    FreePBX, Wazo and VitalPBX write pjsip.conf themselves: with --for, the first lines say which file of theirs
    survives.

    \b
    Examples:
      $ eventfed asterisk-config --config agent.toml --member pbx-a
      $ eventfed asterisk-config --agent 10.0.0.1:5066 --token-file token
      $ eventfed asterisk-config --agent 10.0.0.1:5066 --token-file token --include '^(PJSIP|Dongle)/'
      $ eventfed asterisk-config --config agent.toml --member pbx-a --for freepbx
    """
    from ._asterisk_config import snippet_from_file, snippet_from_options
    from ._distributions import DISTRIBUTIONS

    place = DISTRIBUTIONS[distribution].place if distribution is not None else ()

    if config is not None:
        if token_file or previous_token_file:
            raise typer.BadParameter("the file of --config names the token files: leave these options out")
        if include:
            raise typer.BadParameter("the file of --config has the include of its events: leave --include out")
        text = snippet_from_file(
            config,
            member,
            agent=agent,
            expiration=expiration,
            tell=lambda line: typer.echo(f"eventfed: {line}", err=True),
            place=place,
        )
    elif agent is not None:
        text = snippet_from_options(
            agent,
            transport=transport,
            token_file=token_file,
            previous_token_file=previous_token_file,
            expiration=expiration,
            include=include or (),
            place=place,
        )
    else:
        raise typer.BadParameter("give --agent ADDRESS:PORT, or --config with --member")
    typer.echo(text, nl=False)


@app.command(epilog=EXIT_CODES)
def doctor(
    config: Config,
    json: Json = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1)] = 3.0,
) -> None:
    """Check NATS, the stream, the clock and every server of an agent's file, and say what to change.

    It publishes a device that no server keeps (Custom:eventfed-probe-doctor), with the header secret, without it and
    with a wrong one. Run it where the agent runs. A server's files are read where the file says etc = "/etc/asterisk".
    Exit code 1 if anything is a problem.

    \b
    Examples:
      $ eventfed doctor --config agent.toml
      $ eventfed doctor --config agent.toml --json
    """
    from ._doctor import run

    run(config, timeout=timeout, as_json=json)


@app.command(epilog=EXIT_CODES)
def check(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The agent's TOML file.", envvar="EVENTFED_CONFIG", show_default=False),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="In its place: where the agent answers HTTP.")] = None,
    form: Annotated[CheckFormat, typer.Option("--format", help="How to write it.")] = "text",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1)] = 3.0,
) -> None:
    """Say in one line how a running agent stands, for a monitoring system that runs commands.

    With --format nagios the exit codes are those of its plugins: 0 OK, 1 WARNING, 2 CRITICAL.

    \b
    Examples:
      $ eventfed check --config agent.toml
      $ eventfed check --url http://10.0.0.1:9466 --format nagios
      $ eventfed check --config agent.toml --format zabbix
    """
    from ._checking import run

    run(config, url, form=form, timeout=timeout)


def _selection(kind: str | None, eid: str | None, name: str | None) -> "StateFilter":
    """Checked filters."""
    from eventfed import EID, KINDS

    from ._states import StateFilter

    try:
        pattern = re.compile(name) if name is not None else None
    except re.error as error:
        raise typer.BadParameter(f"--name {name!r} is no regular expression: {error}") from None
    names = {known.name: event_type for event_type, known in KINDS.items() if known.has_state}
    if kind is not None and kind not in names:
        known = ", ".join(sorted(names))
        raise typer.BadParameter(f"{kind!r} is no type of state: use one of {known}", param_hint="'--type'")
    event_type = names.get(kind) if kind is not None else None
    return StateFilter(event_type, EID.parse(eid) if eid is not None else None, pattern)


def _publish(bus: BusOptions, event: "Event", hold: bool) -> None:
    from ._bus import resolve
    from ._publishing import publish_once, publish_while_held

    (publish_while_held if hold else publish_once)(resolve(bus), event)
