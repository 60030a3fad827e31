"""The agent's configuration file (TOML), read and checked as a whole."""

import ipaddress
import os
import re
import socket
import tomllib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_snake

from eventfed import EID, EventfedError
from eventfed.refusals import Mistake, Writing, refusals
from eventfed.spec import DepartureSpec, EventSpec, Spec, check_events, worded

__all__ = [
    "NODE_VARIABLE",
    "AgentConfiguration",
    "AgentSection",
    "ConfigurationError",
    "FederationSection",
    "MemberConfiguration",
    "NatsSection",
    "TimingSection",
    "check_configuration",
    "load_configuration",
    "parse_configuration",
    "read_secret",
    "read_text",
    "split_address",
]

NODE_VARIABLE = "EVENTFED_NODE"
"""Environment variable that names the node whose roster an agent serves, where ``[agent] node`` does not."""

_CHECK_TOKEN, _TOKEN_RULE = worded(
    "^[A-Za-z0-9_-]{1,128}$", "write 1 to 128 letters, digits, '_' and '-': it is one token of a NATS subject"
)
_TOKEN = Annotated[str, Field(json_schema_extra=_TOKEN_RULE), _CHECK_TOKEN]


class ConfigurationError(EventfedError):
    """The configuration cannot be used; the message says where and what to change."""


def split_address(text: str) -> tuple[str, int]:
    """``10.0.0.1:5066`` or ``[::1]:5066`` as host and port.

    Raises:
        ValueError: for anything but a literal IP address with a port.
    """
    host, colon, port = text.rpartition(":")
    try:
        if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65_535:
            raise ValueError("no port")
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        if address.version == 6 and not host.startswith("["):
            raise ValueError("no brackets")
    except ValueError:
        raise ValueError(f"{text!r}: write ADDRESS:PORT, such as 10.0.0.1:5066 or [fd00::1]:5066") from None
    return str(address), int(port)


def _check_address(text: str) -> str:
    split_address(text)
    return text


def _check_host(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no IP address: write one, such as 10.0.0.1; servers are told apart by it"
        ) from None
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise ValueError(f"{text!r} is no address of one server: write the address that it sends from")
    return str(address)


def _check_shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!a:.60} holds a character that cannot be shown: write letters, digits and signs")
    return text


def _is_server(url: str) -> bool:
    """Whether it is a URL of NATS with a host, without user or password; its port, where given, is one of TCP's."""
    if not re.fullmatch(r"(nats|tls|ws|wss)://[^/\s@]+", url):
        return False
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is no number or too large, of brackets that hold no IPv6 address
        return False


def _check_eid(text: str) -> str:
    eid = str(EID.parse(text))
    if eid == "00:00:00:00:00:00":
        raise ValueError("00:00:00:00:00:00 is what a server without an entityid has: write one of its own")
    return eid


Number = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True)]
Switch = Annotated[bool, Field(strict=True)]
Shown = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_check_shown)]


Address = Annotated[str, AfterValidator(_check_address), Field(examples=["10.0.0.1:5066 or [fd00::1]:5066"])]


class FederationSection(Spec):
    """Which federation, and where in it."""

    name: _TOKEN
    site: _TOKEN = "local"


class NatsSection(Spec):
    """Where NATS is. Secrets stand in files of their own."""

    servers: Annotated[
        tuple[Annotated[str, Field(examples=["nats://nats.example.net:4222"])], ...], Field(min_length=1)
    ]
    subject_prefix: _TOKEN = "eventfed"
    user: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    credentials_file: Path | None = None
    nkey_seed_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    tls_handshake_first: Switch = False
    inbox_prefix: _TOKEN = "_INBOX"
    create_stream: Switch = True
    storage: Literal["file", "memory"] = "file"
    replicas: Annotated[Number, Field(ge=1, le=5)] = 1

    @field_validator("servers")
    @classmethod
    def _check_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            if not _is_server(server):
                shown = re.sub(r".*@", "...@", server, flags=re.DOTALL)
                raise ValueError(f"{shown!r}: write nats://HOST:4222 or tls://HOST:4222, without user or password")
        return servers

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        ways = [self.user is not None, self.token_file, self.credentials_file, self.nkey_seed_file]
        if sum(1 for way in ways if way) > 1:
            raise ValueError("use one of user, token_file, credentials_file and nkey_seed_file")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self


class AgentSection(Spec):
    """The agent itself."""

    name: Shown = Field(default_factory=socket.gethostname)
    node: Shown | None = Field(default_factory=lambda: os.environ.get(NODE_VARIABLE) or None)
    listen: Annotated[tuple[Address, ...], Field(min_length=1)] = ("0.0.0.0:5066",)
    http: Address | None = "127.0.0.1:9466"
    token_file: Path | None = None
    previous_token_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    lanes: Annotated[Number, Field(ge=1, le=16)] = 8


class MemberConfiguration(Spec):
    """One Asterisk server."""

    name: Shown
    host: Annotated[str, AfterValidator(_check_host), Field(examples=["10.0.0.1"])]
    port: Annotated[Number, Field(ge=1, le=65_535)] = 5060
    transport: Literal["udp", "tcp"] = "udp"
    eid: Annotated[str, AfterValidator(_check_eid), Field(examples=["02:00:00:00:00:01"])] | None = None
    uid: Shown | None = None
    etc: Path | None = None

    @property
    def address(self) -> str:
        """``udp:10.0.0.1:5060``; it is also the member's uid where none is given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"

    @property
    def identity(self) -> str:
        return self.uid or self.address


class TimingSection(Spec):
    """Times in seconds that tests and hurried people shorten."""

    keep_alive: Annotated[Seconds, Field(gt=0)] = 5.0
    keep_alive_misses: Annotated[Number, Field(ge=1)] = 3
    not_configured_after: Annotated[Seconds, Field(gt=0)] = 30.0
    unknown_source_silence: Annotated[Seconds, Field(ge=0)] = 10.0
    mailbox_answer: Annotated[Seconds, Field(ge=0, le=25)] = 15.0
    sweep: Annotated[Seconds, Field(gt=0)] = 3600.0
    ready_after: Annotated[Seconds, Field(gt=0)] = 20.0
    withdrawal: Annotated[Seconds, Field(gt=0)] = 30.0
    handover: Annotated[Seconds, Field(ge=0)] = 0.0
    shutdown: Annotated[Seconds, Field(gt=0)] = 8.0
    contended_pause: Annotated[Seconds, Field(gt=0)] = 60.0
    lease_ttl: Annotated[Seconds, Field(ge=1)] = 30.0
    lease_renewal: Annotated[Seconds, Field(gt=0)] = 5.0
    state_ttl: Annotated[Seconds, Field(ge=60)] = 6 * 3600.0

    @model_validator(mode="after")
    def _leases_outlive_a_lost_renewal(self) -> Self:
        if self.lease_renewal * 3 > self.lease_ttl:
            raise ValueError(
                f"lease_renewal is {self.lease_renewal:g} s and lease_ttl {self.lease_ttl:g} s: renew three times in a "
                f"TTL at least, so write lease_renewal = {self.lease_ttl / 3:g} or less"
            )
        return self


class AgentConfiguration(Spec):
    """The whole file."""

    federation: FederationSection
    nats: NatsSection
    agent: AgentSection = Field(default_factory=AgentSection)
    members: tuple[MemberConfiguration, ...] = ()
    events: Annotated[tuple[EventSpec, ...], AfterValidator(check_events)]
    departure: DepartureSpec = DepartureSpec()
    timing: TimingSection = TimingSection()

    @property
    def roster_node(self) -> str | None:
        """The node whose roster names the members; None where the file does."""
        return None if self.members else self.agent.node

    @model_validator(mode="after")
    def _one_source_of_members(self) -> Self:
        if self.members and "node" in self.agent.model_fields_set and self.agent.node is not None:
            raise ValueError("[agent] node takes the members from NATS: remove it, or [[members]]")
        return self

    @model_validator(mode="after")
    def _members_can_be_told_apart(self) -> Self:
        names = [member.name for member in self.members]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two members are named {name!r}: give each a name of its own")
        addresses = [member.address for member in self.members]
        for address in addresses:
            if addresses.count(address) > 1:
                raise ValueError(f"two members have the address {address}: remove one")
        hosts = [member.host for member in self.members]
        for member in self.members:
            if hosts.count(member.host) > 1 and member.eid is None:
                raise ValueError(f"member {member.name!r} shares its host with another: give both their eid")
        eids = [member.eid for member in self.members if member.eid]
        for eid in eids:
            if eids.count(eid) > 1:
                raise ValueError(f"two members have the EID {eid}: each server needs an entityid of its own")
        return self


def parse_configuration(text: str, where: str) -> AgentConfiguration:
    """The configuration in a TOML text.

    Raises:
        ConfigurationError: naming each field that is wrong and what to change.
    """
    try:
        configuration, mistakes = check_configuration(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{where}: no TOML: {error}") from None
    if configuration is None:
        lines = [f"{one.where or 'file'}: {one.message}" for one in mistakes]
        raise ConfigurationError(f"{where}: " + "; ".join(lines))
    return configuration


def check_configuration(text: str) -> tuple[AgentConfiguration | None, list[Mistake]]:
    """The configuration in a TOML text, or all that is wrong with it.

    Raises:
        tomllib.TOMLDecodeError, RecursionError: for what is no TOML.
    """
    document = tomllib.loads(text)
    if mistakes := [*_foreign_writing(document)]:
        return None, mistakes
    try:
        return AgentConfiguration.model_validate(document), []
    except ValidationError as error:
        return None, refusals(error, AgentConfiguration, Writing.TOML)


def _foreign_writing(node: object, where: str = "") -> Iterator[Mistake]:
    """Fields in the writing of manifests. The models read it, so that each name would have two writings here."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        path = f"{where}.{key}".removeprefix(".")
        if isinstance(key, str) and re.fullmatch("[a-z]+([A-Z]+[a-z]*)+", key):
            yield Mistake(path, f"this is the writing of an EventFederation: write {to_snake(key)}")
        yield from _foreign_writing(value, path)


def load_configuration(path: Path) -> AgentConfiguration:
    """Read and check one file.

    Raises:
        ConfigurationError: when it cannot be read or used.
    """
    return parse_configuration(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file in UTF-8. A byte order mark, as some editors write it, is left out.

    Raises:
        ConfigurationError: when there is no such file, or it cannot be read as text; says what to change.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigurationError(f"{path}: this is a directory: name the file in it") from None
    except PermissionError:
        raise ConfigurationError(f"{path}: this user may not read it: change its owner or its mode") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}: line {line} is not UTF-8: save the file in UTF-8") from None


def read_secret(path: Path | None) -> SecretStr | None:
    """The first line of a secret's file, or None without one.

    Raises:
        ConfigurationError: when the file cannot be read, or is empty.
    """
    if path is None:
        return None
    lines = read_text(path).split(os.linesep)
    if not lines[0].strip():
        raise ConfigurationError(f"{path}: the first line must hold the secret")
    return SecretStr(lines[0].strip())
