"""Counters of a federation client."""

from dataclasses import dataclass

__all__ = ["FederationCounters"]


@dataclass(slots=True)
class FederationCounters:
    """They only grow. Each is a number of messages or occurrences since the client was made.

    Args:
        sessions: connections to NATS.
        connect_failures: attempts to connect that failed.
        replays: replays that were begun; each but the first is a recovery from something.
        resets: other incarnations of the stream than before.
        received: messages read from the stream.
        older: states that were dropped because a newer one had been read.
        malformed: messages that are not what their subject promises.
        unsupported: messages of a later version.
        mismatched: messages whose subject and envelope name different things.
        published: publications handed to NATS.
        acknowledged: publications that are on the stream.
        coalesced: values that were replaced by a newer one before they were sent.
        unchanged: values that were not sent since the stream holds them already.
        refused: publications that NATS refused.
        unanswered: publications that were not answered in time.
        late_answers: answers to publications that had been given up.
        corrected: own states published again because something else was read on their subject.
        unowned: values that were dropped since another agent owns the server, or it was released.
        oversized: values that were dropped since they do not fit an envelope.
        renewed: own states published again to renew their TTL.
        tombstones: tombstones made for departed servers.
        superseded: tombstones that were not needed: anyone who came back won.
        put_back: mailboxes of departed servers published again after the store was lost.
        lapsed: states dropped without a tombstone on the stream.
        leases_lost: claims that another agent took over.
        stalls: times that this process stood still for longer than its leases allow.
        reports_dropped: reports that could not be handed to NATS; the next one replaces them.
        events_sent: events without a last value handed to NATS.
        events_dropped: events without a last value dropped since NATS was away or too many were waiting.
    """

    sessions: int = 0
    connect_failures: int = 0
    replays: int = 0
    resets: int = 0
    received: int = 0
    older: int = 0
    malformed: int = 0
    unsupported: int = 0
    mismatched: int = 0
    published: int = 0
    acknowledged: int = 0
    coalesced: int = 0
    unchanged: int = 0
    refused: int = 0
    unanswered: int = 0
    late_answers: int = 0
    corrected: int = 0
    unowned: int = 0
    oversized: int = 0
    renewed: int = 0
    tombstones: int = 0
    superseded: int = 0
    put_back: int = 0
    lapsed: int = 0
    leases_lost: int = 0
    stalls: int = 0
    reports_dropped: int = 0
    events_sent: int = 0
    events_dropped: int = 0
