"""``eventfed asterisk-config``: the part of pjsip.conf that one server needs, from options or an agent's file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from eventfed.asterisk_config import pjsip_snippet
from eventfed.model.patterns import compile_pattern
from eventfed.spec import EventSpec, device_filter
from eventfed_agent.configuration import (
    AgentConfiguration,
    ConfigurationError,
    MemberConfiguration,
    load_configuration,
    read_secret,
    split_address,
)
from eventfed_agent.pjsip.listening import TransportFailed, address_for

__all__ = ["snippet_from_file", "snippet_from_options"]


def snippet_from_options(
    agent: str,
    *,
    transport: Literal["udp", "tcp"],
    token_file: Path | None,
    previous_token_file: Path | None,
    expiration: int,
    include: Sequence[str] = (),
    place: Sequence[str] = (),
) -> str:
    """The snippet for servers of the agent at `agent` (``ADDRESS:PORT``) whose devices `include` chooses, if any.

    `place` are the lines that say where it goes (`Distribution.place`).

    Raises:
        ConfigurationError: for an address or secret that cannot be used.
        PatternError: for an `include` that is no regular expression.
        SnippetError: for a value that pjsip.conf cannot hold.
    """
    host, port = _agent_address(agent)
    for pattern in include:
        compile_pattern(pattern)
    return pjsip_snippet(
        agent_host=host,
        agent_port=port,
        transport=transport,
        token=read_secret(token_file),
        previous_token=read_secret(previous_token_file),
        expiration=expiration,
        device_filter=device_filter([EventSpec(type="device_state", include=tuple(include))]),
        place=place,
    )


def snippet_from_file(
    file: Path,
    member: str | None,
    *,
    agent: str | None,
    expiration: int,
    tell: Callable[[str], None],
    place: Sequence[str] = (),
) -> str:
    """The snippet for one member of an agent's file; `agent` replaces the address that the agent listens on.

    Raises:
        ConfigurationError: for a file that cannot be used, or a name that is no member's.
        SnippetError: for a value that pjsip.conf cannot hold.
    """
    configuration = load_configuration(file)
    chosen = _choose(configuration, member, file)
    host, port = _agent_address(agent) if agent is not None else _listening(configuration, chosen, tell)
    return pjsip_snippet(
        agent_host=host,
        agent_port=port,
        transport=chosen.transport,
        token=read_secret(configuration.agent.token_file),
        previous_token=read_secret(configuration.agent.previous_token_file),
        expiration=expiration,
        device_filter=device_filter(configuration.events),
        place=place,
    )


def _agent_address(text: str) -> tuple[str, int]:
    try:
        return split_address(text)
    except ValueError as error:
        raise ConfigurationError(f"--agent: {error}") from None


def _choose(configuration: AgentConfiguration, name: str | None, file: Path) -> MemberConfiguration:
    names = [member.name for member in configuration.members]
    if name is None and len(names) == 1:
        return configuration.members[0]
    for member in configuration.members:
        if member.name == name:
            return member
    known = f"it has {', '.join(names)}" if names else "it has none"
    raise ConfigurationError(f"{file}: name one of its members with --member ({known})")


def _listening(
    configuration: AgentConfiguration, member: MemberConfiguration, tell: Callable[[str], None]
) -> tuple[str, int]:
    try:
        host, port, chosen_by = address_for(configuration, member)
    except TransportFailed as error:
        raise ConfigurationError(
            f"member {member.name}: {error}; or name the agent's address with --agent ADDRESS:PORT"
        ) from None
    if chosen_by:
        tell(f"taking {host}, {chosen_by}; name another with --agent ADDRESS:PORT")
    return host, port
