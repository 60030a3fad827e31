"""The ways in which a nats-server accepts a connection and does not do its work, and how each of them ends."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.aio.client import Client

from eventfed import FederationSettings, Subjects, stream_configuration
from eventfed.core.troubles import Trouble
from eventfed_lab import NatsServer

__all__ = ["FAULTS", "SUBJECTS", "Fault"]

SUBJECTS = Subjects("pbx")
STREAM = SUBJECTS.stream
FILLER = "FILLER"
_BASE = stream_configuration(SUBJECTS, FederationSettings())


@dataclass(frozen=True)
class Fault:
    """One way.

    Args:
        trouble: as which kind it is told, and words that are told of it.
        begin, end: what happens to the server.
        configuration: of the server, before.
        jetstream: limits of its store.
        options: how to log in.
        stream: of the stream, where it was made by somebody else, before the clients came.
        crosses: whether states are where they should be all the same.
    """

    name: str
    trouble: tuple[Trouble, str]
    begin: Callable[[NatsServer], Awaitable[None]]
    end: Callable[[NatsServer], Awaitable[None]]
    configuration: str = ""
    jetstream: str = ""
    stream: Mapping[str, Any] | None = None
    crosses: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


async def _ask(server: NatsServer, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    client = await _connect(server)
    try:
        payload = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{what}", payload, timeout=5)).data)
        assert "error" not in answer, f"{what}: {answer['error']}"
        return answer
    finally:
        await client.close()


async def _connect(server: NatsServer) -> Client:
    if "pw" in server.configuration:
        return await nats.connect(server.url, user="lab", password="pw")
    return await nats.connect(server.url)


async def make_stream(server: NatsServer, stream: Mapping[str, Any]) -> None:
    """As somebody else made it."""
    if "mirror" in stream:
        await _ask(server, "STREAM.CREATE.ORIGIN", {"name": "ORIGIN", "subjects": ["origin.>"]})
    wanted = {name: value for name, value in {**_BASE, **stream}.items() if value is not None}
    await _ask(server, f"STREAM.CREATE.{STREAM}", wanted)
    if "max_consumers" in stream:
        consumer = {"durable_name": "one", "name": "one", "ack_policy": "none"}
        await _ask(server, f"CONSUMER.CREATE.{STREAM}.one", {"stream_name": STREAM, "config": consumer})


def updated(**change: Any) -> Callable[[NatsServer], Awaitable[None]]:
    async def update(server: NatsServer) -> None:
        await _ask(server, f"STREAM.UPDATE.{STREAM}", {**_BASE, **change})

    return update


def restarted(configuration: str) -> Callable[[NatsServer], Awaitable[None]]:
    async def restart(server: NatsServer) -> None:
        server.configuration = configuration
        await server.restart()

    return restart


async def nothing(_: NatsServer) -> None:
    """It is so from the beginning."""


async def deleted(server: NatsServer) -> None:
    """The stream, which the clients then make as they need it."""
    await _ask(server, f"STREAM.DELETE.{STREAM}")


def filled(storage: str) -> Callable[[NatsServer], Awaitable[None]]:
    """Somebody else's stream takes all the room that there is."""

    async def fill(server: NatsServer) -> None:
        await _ask(server, f"STREAM.CREATE.{FILLER}", {"name": FILLER, "subjects": [FILLER], "storage": storage})
        client = await _connect(server)
        try:
            for size in (500_000, 50_000, 4096, 512, 64, 1):
                while b'"error"' not in (await client.request(FILLER, b"x" * size, timeout=5)).data:
                    pass
        finally:
            await client.close()

    return fill


async def emptied(server: NatsServer) -> None:
    await _ask(server, f"STREAM.DELETE.{FILLER}")


def permissions(**denied: Any) -> str:
    return f"authorization {{ users: [{{ user: lab, password: pw, permissions: {json.dumps(denied)} }}] }}"


ALL = "authorization { users: [{ user: lab, password: pw }] }"


def account(jetstream: str) -> str:
    return f"accounts {{ A: {{ {jetstream} users: [{{ user: lab, password: pw }}] }} }}"


LOGIN = {"user": "lab", "password": "pw"}
REFUSED, STREAM_, PERMISSION = Trouble.REFUSED, Trouble.STREAM, Trouble.PERMISSION
CONFIGURATION, SILENT = Trouble.CONFIGURATION, Trouble.UNACKNOWLEDGED

FAULTS = [
    Fault("stream full by bytes", (REFUSED, "maximum bytes exceeded (10077): the stream is full"),
          updated(max_bytes=100, discard="new"), updated()),
    Fault("stream full by messages", (REFUSED, "maximum messages exceeded (10077)"),
          updated(max_msgs=1, discard="new"), updated()),
    Fault("messages limited in size", (REFUSED, "message size exceeds maximum allowed (10054): raise max_msg_size"),
          updated(max_msg_size=10), updated()),
    Fault("store of the server full", (REFUSED, "insufficient resources (10023): its store is full"),
          filled("file"), emptied, jetstream="max_file_store: 10000000"),
    Fault("store of the account full", (REFUSED, "resource limits exceeded for account (10002): the account's store"),
          filled("file"), emptied, configuration=account("jetstream: { max_file: 10000000 },"), options=LOGIN),
    Fault("JetStream switched off for the account", (STREAM_, "JetStream not enabled for account (10039)"),
          restarted(account("")), restarted(account("jetstream: enabled,")),
          configuration=account("jetstream: enabled,"), options=LOGIN),
    Fault("consumers used up", (STREAM_, "maximum consumers limit reached (10026): raise max_consumers"),
          nothing, deleted, stream={"max_consumers": 1}),
    Fault("may not publish states", (PERMISSION, 'Publish to "eventfed.pbx.local.state.'),
          restarted(permissions(publish={"deny": ["eventfed.pbx.local.state.>"]})), restarted(ALL),
          configuration=ALL, options=LOGIN),
    Fault("may not publish leases", (PERMISSION, 'Publish to "eventfed.pbx.local.member.'),
          restarted(permissions(publish={"deny": ["eventfed.pbx.local.member.>"]})), restarted(ALL),
          configuration=ALL, options=LOGIN),
    Fault("may not make consumers", (PERMISSION, 'Publish to "$JS.API.CONSUMER.CREATE.'),
          restarted(permissions(publish={"deny": ["$JS.API.CONSUMER.CREATE.>"]})), restarted(ALL),
          configuration=ALL, options=LOGIN),
    Fault("may not pull", (PERMISSION, 'Publish to "$JS.API.CONSUMER.MSG.NEXT.'),
          restarted(permissions(publish={"deny": ["$JS.API.CONSUMER.MSG.NEXT.>"]})), restarted(ALL),
          configuration=ALL, options=LOGIN),
    Fault("may not hear answers", (PERMISSION, 'Subscription to "_INBOX.'),
          restarted(permissions(subscribe={"deny": ["_INBOX.>"]})), restarted(ALL),
          configuration=ALL, options=LOGIN),
    Fault("stream sealed", (REFUSED, "(10109): the stream is sealed"),
          updated(sealed=True, discard="new", deny_delete=True, deny_purge=True, allow_rollup_hdrs=False), deleted),
    Fault("stream without TTLs", (REFUSED, "per-message TTL is disabled (10166): set allow_msg_ttl"),
          nothing, updated(), stream={"allow_msg_ttl": False, "subject_delete_marker_ttl": None}),
    Fault("stream that acknowledges nothing", (SILENT, "NATS does not acknowledge what is published"),
          updated(no_ack=True), updated()),
    Fault("stream that keeps five of each", (CONFIGURATION, "max_msgs_per_subject is 5, not 1"),
          updated(max_msgs_per_subject=5), updated(), crosses=True),
    Fault("stream that forgets by age", (CONFIGURATION, "max_age is 3600000000000, not 0"),
          updated(max_age=3_600_000_000_000), updated(), crosses=True),
    Fault("stream that drops the oldest", (CONFIGURATION, "max_bytes is 1000000, not -1"),
          updated(max_bytes=1_000_000), updated(), crosses=True),
    Fault("stream of other subjects", (CONFIGURATION, 'subjects is ["eventfed.pbx.local.roster.*"]'),
          updated(subjects=["eventfed.pbx.local.roster.*"]), updated()),
    Fault("stream that is a copy", (CONFIGURATION, "it is a copy (mirror) of another stream"),
          nothing, deleted,
          stream={"mirror": {"name": "ORIGIN"}, "subjects": None, "allow_msg_ttl": False,
                  "subject_delete_marker_ttl": None, "allow_rollup_hdrs": None}),
]  # fmt: skip
