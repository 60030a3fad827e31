"""``eventfed asterisk-config``: the part of pjsip.conf that one server needs, from options or an agent's file."""

import ipaddress
import socket
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

__all__ = ["snippet_from_file", "snippet_from_options"]


def snippet_from_options(
    agent: str,
    *,
    transport: Literal["udp", "tcp"],
    token_file: Path | None,
    previous_token_file: Path | None,
    expiration: int,
    include: Sequence[str] = (),
) -> str:
    """The snippet for servers of the agent at `agent` (``ADDRESS:PORT``) whose devices `include` chooses, if any.

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
    )


def snippet_from_file(
    file: Path, member: str | None, *, agent: str | None, expiration: int, tell: Callable[[str], None]
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
    version = ipaddress.ip_address(member.host).version
    addresses = [split_address(text) for text in configuration.agent.listen]
    fitting = [(host, port) for host, port in addresses if ipaddress.ip_address(host).version == version]
    if not fitting:
        raise ConfigurationError(
            f"agent.listen has no IPv{version} address, which member {member.name} ({member.host}) needs: add one"
        )
    host, port = fitting[0]
    if not ipaddress.ip_address(host).is_unspecified:
        return host, port
    host = _own_address(member)
    tell(
        f"the agent listens on all addresses: taking {host}, by which this machine reaches {member.name}; "
        "name another with --agent ADDRESS:PORT"
    )
    return host, port


def _own_address(member: MemberConfiguration) -> str:
    """Our address on the way to the member; nothing is sent."""
    family = socket.AF_INET6 if ":" in member.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((member.host, member.port))
        except OSError as error:
            raise ConfigurationError(
                f"no route to {member.host} ({error}): name the agent's address with --agent ADDRESS:PORT"
            ) from None
        return str(probe.getsockname()[0]).partition("%")[0]
