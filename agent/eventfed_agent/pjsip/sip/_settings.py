"""What can be set on a user agent, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._client_transactions import ClientTimers
from ._messages import MAX_MESSAGE_BYTES

__all__ = ["Counters", "UserAgentSettings"]


@dataclass(frozen=True, slots=True)
class UserAgentSettings:
    """Times in seconds, sizes in bytes.

    `methods` are those that the handler answers; OPTIONS is answered by the user agent, all others get 405.
    `transaction_lifetime` is Timer J (RFC 3261 17.2.2). A TCP connection without traffic is closed after
    `idle_timeout`, one whose message does not become whole after `message_timeout`.
    """

    methods: frozenset[str] = frozenset({"PUBLISH"})
    timers: ClientTimers = field(default_factory=ClientTimers)
    transaction_lifetime: float = 32.0
    transaction_capacity: int = 20_000
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_connections: int = 1_024
    max_connections_per_source: int = 16
    max_write_buffer_bytes: int = 1 << 20
    connect_timeout: float = 5.0
    idle_timeout: float = 600.0
    message_timeout: float = 10.0
    close_timeout: float = 1.0


@dataclass(slots=True)
class Counters:
    """Everything that a user agent received, sent and dropped since it was opened."""

    received: int = 0
    parsed: int = 0
    malformed: int = 0
    dropped_oversize: int = 0
    keepalives: int = 0
    requests: int = 0
    requests_unanswered: int = 0
    method_not_allowed: int = 0
    handler_failures: int = 0
    retransmissions_answered: int = 0
    retransmissions_absorbed: int = 0
    transactions_evicted: int = 0
    late_answers: int = 0
    requests_sent: int = 0
    retransmissions_sent: int = 0
    responses: int = 0
    responses_unmatched: int = 0
    timeouts: int = 0
    given_up: int = 0
    transport_failures: int = 0
    send_failures: int = 0
    connections_accepted: int = 0
    connections_opened: int = 0
    connections_refused: int = 0
    connections_timed_out: int = 0
    connections_stalled: int = 0
