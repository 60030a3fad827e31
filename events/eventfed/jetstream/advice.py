"""What to do about the errors of JetStream (nats-server ``server/errors.json``; seen on 2.15.1)."""

__all__ = ["with_advice"]

_FULL = "its store is full: give nats-server more room (jetstream {}: max_file_store, max_memory_store)"
_ADVICE = {
    10002: "the account's store is full: raise its limits (max_file, max_memory), or delete other streams",
    10008: "it has no leader, or is starting: look at the servers of the NATS cluster",
    10023: f"{_FULL}, or free the disk",
    10026: "raise max_consumers of the stream or the account, or delete consumers that nobody reads",
    10028: _FULL,
    10039: "switch JetStream on for the account of this user",
    10047: _FULL,
    10054: "raise max_msg_size of the stream to 66 KiB, or to no limit",
    10076: "put jetstream {} into nats-server.conf",
    10077: "the stream is full or cannot write: raise its limits (max_bytes, max_msgs; spec.nats.stream.maxBytes), and "
    "look at the disk of nats-server",
    10109: "the stream is sealed for good: delete it, and let it be made again",
    10166: "set allow_msg_ttl on the stream",
}


def with_advice(text: str, code: int) -> str:
    """An error's description with its ``err_code`` and what to change."""
    told = f"{text} ({code})" if code else text
    return f"{told}: {_ADVICE[code]}" if code in _ADVICE else told
