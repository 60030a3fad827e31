"""Whether the addresses that an agent listens on reach its members."""

import ipaddress
import socket
from collections.abc import Iterator

from ..configuration import AgentConfiguration, MemberConfiguration, split_address
from .sip import Route, TransportFailed, find_route

__all__ = ["TransportFailed", "address_for", "unreached"]


def _hosts(configuration: AgentConfiguration) -> list[str]:
    return [split_address(text)[0] for text in configuration.agent.listen]


def address_for(configuration: AgentConfiguration, member: MemberConfiguration) -> tuple[str, int, str]:
    """Where a member reaches the agent: address, port, and by what this was chosen (empty if there is no choice).

    Raises:
        TransportFailed: when the member cannot be reached from ``agent.listen``; the message says what to listen on.
    """
    hosts = _hosts(configuration)
    fitting = _of_its_family(hosts, member)
    if len(fitting) == 1 and not _is_any(fitting[0]):
        route, chosen_by = Route(hosts.index(fitting[0]), fitting[0]), ""
    elif fitting and not any(map(_is_ours, fitting)):
        route, chosen_by = Route(hosts.index(fitting[0]), fitting[0]), "no other machine than the agent's can tell"
    else:
        route, chosen_by = find_route(hosts, member.host), f"by which this machine reaches {member.name}"
    return route.source, split_address(configuration.agent.listen[route.position])[1], chosen_by


def _of_its_family(hosts: list[str], member: MemberConfiguration) -> list[str]:
    version = ipaddress.ip_address(member.host).version
    return [host for host in hosts if ipaddress.ip_address(host).version == version]


def _is_any(host: str) -> bool:
    return ipaddress.ip_address(host).is_unspecified


def unreached(configuration: AgentConfiguration, *, here: bool) -> Iterator[tuple[int, str]]:
    """The members that no listen address reaches: the position of each, and what to change.

    Args:
        here: whether the agent runs on this machine, so that its routes count.
    """
    hosts = _hosts(configuration)
    for number, member in enumerate(configuration.members):
        fitting = _of_its_family(hosts, member)
        on_loopback = all(ipaddress.ip_address(host).is_loopback for host in fitting)
        if not fitting:
            version = ipaddress.ip_address(member.host).version
            yield number, f"no address in agent.listen reaches {member.host}: add an IPv{version} address"
        elif on_loopback and not ipaddress.ip_address(member.host).is_loopback and not _is_ours(member.host):
            yield (
                number,
                (
                    f"agent.listen has only loopback addresses, which do not reach {member.host}: add the address by "
                    "which this machine reaches it"
                ),
            )
        elif here and all(map(_is_ours, fitting)):
            try:
                find_route(hosts, member.host)
            except TransportFailed as error:
                yield number, str(error)


def _is_ours(host: str) -> bool:
    """Whether this machine can listen on the address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
