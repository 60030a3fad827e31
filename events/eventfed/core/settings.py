"""What can be set on a federation client: times, storage, credentials."""

import enum
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["Credentials", "CredentialsSource", "FederationSettings", "MailboxDeparture", "Storage"]


class MailboxDeparture(enum.StrEnum):
    """What becomes of a departed server's mailboxes: the messages may still exist where their spool is shared."""

    KEEP = "keep"
    REMOVE = "remove"


class Storage(enum.StrEnum):
    """Where the stream keeps its messages, if this client makes it."""

    FILE = "file"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class FederationSettings:
    """Times are in seconds. The defaults are for production; tests shorten them. NATS rounds TTLs to seconds.

    Args:
        lease_ttl: how long a lease lives after its last renewal; at least three renewals and one restart of NATS.
        lease_renewal: how often a held lease is renewed.
        grace_period: how long a server may be without a lease before its states are replaced by tombstones.
        tombstone_ttl: how long tombstones stay on the stream.
        state_ttl: how long a state stays that nobody renews; its owner renews it at a third of that, spread.
        mailboxes: what becomes of the mailboxes of a departed server. Kept ones have no TTL.
        mailbox_grace_period: the grace of mailboxes, where they are removed.
        deputy_delay: by how much the next in rank waits for the one before to make the tombstones.
        deputy: whether this client makes tombstones for others at all. Mere readers should not.
        storage: where a stream made by this client keeps its messages.
        replicas: on how many servers.
        create_stream: whether to make a missing stream. Under Kubernetes the operator does that.
        read_states: whether to read states. A client that only administers the federation does not.
        read_reports: whether to hear what agents report (`Federation.reports`).
        report_lifetime: how long a report counts that is not repeated; agents repeat theirs every 5 s.
        publish_window: how many publications may wait for their acknowledgement.
        ack_deadline: when a publication that was not answered is sent again.
        retry_pause: the first pause before what was refused is tried again; it doubles up to `retry_pause_limit`.
        retry_pause_limit: the longest pause, without what chance adds (up to half of it).
        stream_check: how often the stream's configuration is looked at; each `stream_recheck` while it is wrong.
        stream_recheck: see there.
        correction_interval: how often, at most, one own state is published again because somebody overwrote it.
        heartbeat: the idle heartbeat of the reader's consumer; three missing ones start a new replay.
        pull_batch: how many messages the reader asks for at a time.
        pull_expires: how long one request of the reader stands, at least twice the heartbeat.
        request_timeout: how long the JetStream API may take to answer.
        connect_timeout: how long one attempt to connect may take.
        reconnect_pause: the first pause between two attempts to connect; it doubles up to `reconnect_pause_limit`.
        reconnect_pause_limit: the longest pause.
    """

    lease_ttl: float = 30.0
    lease_renewal: float = 5.0
    grace_period: float = 30.0
    tombstone_ttl: float = 86_400.0
    state_ttl: float = 6 * 3600.0
    mailboxes: MailboxDeparture = MailboxDeparture.KEEP
    mailbox_grace_period: float = 3600.0
    deputy_delay: float = 2.0
    deputy: bool = True
    storage: Storage = Storage.FILE
    replicas: int = 1
    create_stream: bool = True
    read_states: bool = True
    read_reports: bool = False
    report_lifetime: float = 16.0
    publish_window: int = 512
    ack_deadline: float = 3.0
    retry_pause: float = 0.2
    retry_pause_limit: float = 2.0
    stream_check: float = 60.0
    stream_recheck: float = 5.0
    correction_interval: float = 1.0
    heartbeat: float = 1.0
    pull_batch: int = 2048
    pull_expires: float = 30.0
    request_timeout: float = 2.0
    connect_timeout: float = 2.0
    reconnect_pause: float = 0.1
    reconnect_pause_limit: float = 2.0

    @property
    def pull_inactive(self) -> float:
        """How long NATS keeps the reader's consumer without a request: twice as long as a request stands, since the
        next one is made only when NATS says that the last has ended."""
        return 2 * self.pull_expires

    @property
    def tick(self) -> float:
        """How often the client looks at its clocks: often enough to notice that it was stopped (`stall`)."""
        return max(0.05, min(1.0, self.lease_ttl / 20))

    @property
    def stall(self) -> float:
        """An event loop that stood still for longer than this must not believe that it holds its leases."""
        return self.lease_ttl / 6


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to prove to NATS who we are; at most one of password, token, nkey and creds file.

    Args:
        user: user name, with `password`.
        password: its password.
        token: a bearer token.
        nkey_seed_file: file that holds an nkey's seed.
        creds_file: file with a user JWT and its seed, as ``nsc`` writes it.
        tls: context for TLS: authorities, and our own certificate where the server verifies clients.
        tls_hostname: the name that the server's certificate must carry, where it is not the one in the URL.
        tls_handshake_first: begin with TLS, before the server says anything; the server must be set so as well
            (``tls { handshake_first: true }``, NATS 2.10.4).
        inbox_prefix: the first tokens of our inboxes, where permissions prescribe them (``_INBOX_<agent>``).
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    nkey_seed_file: Path | None = None
    creds_file: Path | None = None
    tls: ssl.SSLContext | None = None
    tls_hostname: str | None = None
    tls_handshake_first: bool = False
    inbox_prefix: str = "_INBOX"


CredentialsSource: TypeAlias = Callable[[], Credentials]
"""Reads the credentials from where they stand: called in a thread before each attempt to connect, so that what was
replaced there is used. It raises an `EventfedError` where they cannot be had; that is told, and tried again."""
