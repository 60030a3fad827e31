"""The part of ``pjsip.conf`` that lets an Asterisk server talk with its agent."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Literal

from pydantic import SecretStr

from .model.device_kinds import DEFAULT_DEVICES
from .model.errors import EventfedError

__all__ = ["RESOURCE", "SnippetError", "identifier_order_line", "pjsip_snippet"]

RESOURCE = "eventfed"
"""User part of the request-URI, both ways: ``PUBLISH sip:eventfed@host``."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+=-]{8,256}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}")


class SnippetError(EventfedError, ValueError):
    """A value that cannot be written into ``pjsip.conf``."""


def identifier_order_line() -> str:
    """The line for ``[global]`` of ``pjsip.conf`` where another endpoint could be identified first.

    Asterisk's default is ``ip,username,anonymous`` with ``header`` after all of them
    (``res/res_pjsip/config_global.c``). The snippet cannot set it itself: ``[global](+)`` in a file whose main
    part has no ``[global]`` makes Asterisk refuse the whole of ``pjsip.conf``.
    """
    return "endpoint_identifier_order = header,ip,username,anonymous"


def pjsip_snippet(
    *,
    agent_host: str,
    agent_port: int,
    transport: Literal["udp", "tcp"] = "udp",
    token: SecretStr | str | None,
    previous_token: SecretStr | str | None = None,
    endpoint_name: str = RESOURCE,
    expiration: int = 60,
    device_filter: str = DEFAULT_DEVICES,
    place: Sequence[str] = (),
) -> str:
    """Write the sections that a server includes in its ``pjsip.conf``.

    `agent_host` is a name or an address, IPv6 without brackets; a literal address keeps DNS off the path, where
    Asterisk asks again for every PUBLISH. `token` is the secret that the agent sends in ``X-Eventfed-Token``;
    with None the agent is known by `agent_host` alone, which must then be an address. `previous_token` is
    accepted as well while a token is being changed. `expiration` is in seconds. `device_filter` says which
    devices the server publishes; `eventfed.spec.device_filter` makes it from what the user wants to cross.
    `place` says where the snippet goes, in lines for its head; without it, the end of ``pjsip.conf``.

    Raises:
        SnippetError: a value that ``pjsip.conf`` cannot hold.
    """
    if not 1 <= agent_port <= 65535:
        raise SnippetError(f"the agent's port is {agent_port}: use 1 to 65535")
    if expiration < 10:
        raise SnippetError(f"expiration is {expiration} s: use 10 or more")
    if not _NAME.fullmatch(endpoint_name):
        raise SnippetError(f"{endpoint_name!r:.80} is no section name: use letters, digits, '_', '.', '-'")
    if not device_filter or re.search(r"[;\r\n]", device_filter):
        raise SnippetError("a device filter must not be empty nor hold ';' or a line break")
    if any(re.search(r"[\r\n]", line) for line in place):
        raise SnippetError("a line of the head must not hold a line break")
    scheme = f"{_netloc(agent_host)}:{agent_port}" + ("\\;transport=tcp" if transport == "tcp" else "")
    return _TEMPLATE.format(
        endpoint=endpoint_name,
        identification=_identification(endpoint_name, agent_host, token, previous_token),
        identify_by="ip" if token is None else "header",
        server_uri=f"sip:{RESOURCE}@{scheme}",
        resource=RESOURCE,
        expiration=expiration,
        device_filter=device_filter,
        place="\n".join(f"; {line}" for line in place or _PLACE),
    )


def _netloc(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise SnippetError(f"{host!r:.80} is neither an address nor a host name") from None
        return host
    return f"[{address}]" if address.version == 6 else str(address)


def _identification(endpoint: str, host: str, token: SecretStr | str | None, previous: SecretStr | str | None) -> str:
    if token is None:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise SnippetError("without a token the agent's host must be an address, not a name") from None
        return f"[{endpoint}]\ntype = identify\nendpoint = {endpoint}\nmatch = {address}\n"
    sections = [(endpoint, token)]
    if previous is not None:
        sections.append((f"{endpoint}-previous", previous))
    return "\n".join(
        f"[{name}]\ntype = identify\nendpoint = {endpoint}\nmatch_header = X-Eventfed-Token: {_text(secret)}\n"
        for name, secret in sections
    )


def _text(token: SecretStr | str) -> str:
    text = token.get_secret_value() if isinstance(token, SecretStr) else token
    if not _TOKEN.fullmatch(text):
        raise SnippetError("a token has 8 to 256 characters, of letters, digits and . _ ~ + = - only")
    return text


_PLACE = (
    "Include this file at the end of pjsip.conf.",
    'Where an endpoint "anonymous" or an identify for the agent\'s network exists, put this into the section [global]',
    "of pjsip.conf:",
    f"  {identifier_order_line()}",
)

_TEMPLATE = """\
; eventfed: carries voicemail lamps (MWI) and device state between Asterisk servers.
{place}
; It needs the modules res_pjsip_publish_asterisk, res_pjsip_outbound_publish, res_pjsip_pubsub and
; res_pjsip_endpoint_identifier_ip, and in asterisk.conf an entityid of this server's own.

; The agent as an endpoint. It places no calls: the context does not exist.
[{endpoint}]
type = endpoint
context = eventfed-no-calls
disallow = all
allow = ulaw
; Never by user name: anyone who sent that name would be let in without a secret.
identify_by = {identify_by}

; How the agent is known.
{identification}
; What this server tells the agent: the state of its own devices ...
[eventfed-devicestate]
type = outbound-publish
server_uri = {server_uri}
event = asterisk-devicestate
expiration = {expiration}
@device_state_filter = {device_filter}

; ... and the message counts of its own mailboxes.
[eventfed-mwi]
type = outbound-publish
server_uri = {server_uri}
event = asterisk-mwi
expiration = {expiration}

; What the agent tells this server: only the agent may publish here ...
[{resource}]
type = inbound-publication
endpoint = {endpoint}
event_asterisk-devicestate = {resource}
event_asterisk-mwi = {resource}

; ... and states of other servers are taken from it. When the agent asks, the two publications above tell all again.
[{resource}]
type = asterisk-publication
devicestate_publish = eventfed-devicestate
mailboxstate_publish = eventfed-mwi
device_state = yes
mailbox_state = yes
"""
