"""One connection to NATS. Each is used once: when it is lost, the client is thrown away and another one made.

nats-py would reconnect by itself, but it then sends what it had buffered (stale values), stops for good after an
exception at the wrong place, and may believe in a connection whose read loop has ended.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import nats.aio.client
import nats.aio.msg
import nats.errors
from nats.aio.subscription import Subscription
from nats.protocol import command as prot_command

from ..core.settings import Credentials, FederationSettings
from ..model.errors import EventfedError
from ..tasks import heed_cancellation

__all__ = ["Client", "ConnectionLost", "InsecureConnection", "explain", "open_connection"]

_log = logging.getLogger("eventfed.federation")
_PING_INTERVAL = 5
_CLOSE_TIMEOUT = 1.0
_YIELD_AFTER = 256


class ConnectionLost(EventfedError):
    """There is no connection to NATS, or it has ended; the text says why."""


class InsecureConnection(ConnectionLost):
    """TLS is asked for, and the server offers none: nothing was sent to it."""


class Client(nats.aio.client.Client):
    """nats-py's client, whose read loop survives headers and subjects that are not UTF-8, which leaves nothing
    behind when it is done, whose calls can always be cancelled, and which says nothing in clear where TLS is asked for.

    Args:
        tls_required: nothing is sent before TLS stands.
    """

    def __init__(self, *, tls_required: bool = False) -> None:
        super().__init__()
        self._tls_required = tls_required
        self._direct: dict[int, Callable[[nats.aio.msg.Msg], None]] = {}
        self._in_a_row = 0
        self.lacks: str | None = None
        """The permission of which NATS said last that we lack it. It says so to nobody who waits for an answer."""

    def _connect_command(self) -> bytes:
        # Called when all is there to log in, and nothing was sent yet. nats-py begins TLS only where the server's first
        # line asks for it, and that line comes in clear: anyone who is on the path can leave the word out.
        if self._tls_required and not _is_encrypted(self._transport):
            server = self._current_server
            place = server.uri.netloc if server is not None else "the server"
            raise InsecureConnection(
                f"NATS at {place} offers no TLS, which a tls:// or wss:// URL, an authority or a client certificate "
                "asks for: nothing was sent. Give that server a certificate (tls {} in nats-server.conf), write "
                "wss:// for ws://, or ask for no TLS"
            )
        return super()._connect_command()

    async def connect(self, *arguments: Any, **options: Any) -> None:
        await heed_cancellation(super().connect(*arguments, **options))

    async def publish(self, *arguments: Any, **options: Any) -> None:
        await heed_cancellation(super().publish(*arguments, **options))

    async def request(self, *arguments: Any, **options: Any) -> nats.aio.msg.Msg:
        return await heed_cancellation(super().request(*arguments, **options))

    async def subscribe(self, *arguments: Any, **options: Any) -> Subscription:
        return await heed_cancellation(super().subscribe(*arguments, **options))

    async def subscribe_directly(self, subject: str, take: Callable[[nats.aio.msg.Msg], None]) -> Subscription:
        """Call `take` with each message in the very turn of the event loop in which it was read.

        nats-py hands each message to a task by a queue, which costs a turn. What `take` raises is told to the
        connection's error callback, and ends nothing.
        """

        async def nobody(message: nats.aio.msg.Msg) -> None:
            """The queue of this subscription stays empty."""

        subscription = await self.subscribe(subject, cb=nobody)
        self._direct[subscription._id] = take
        return subscription

    async def unsubscribe_directly(self, subscription: Subscription) -> None:
        """End what `subscribe_directly` began."""
        self._direct.pop(subscription._id, None)
        await subscription.unsubscribe()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._direct.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            take(self._build_message(sid, subject, reply, data, await self._process_headers(headers)))
        except Exception as error:  # the read loop would end by it, without a word
            await self._error_cb(error)
        self._in_a_row += 1
        if self._in_a_row % _YIELD_AFTER == 0:
            # A replay would otherwise keep all other tasks waiting for as long as there are bytes to read.
            await asyncio.sleep(0)

    def put(self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Have a message published by the next `write`.

        Args:
            headers: names and values without line breaks.

        Raises:
            nats.errors.ConnectionClosedError: the connection is gone.
            nats.errors.MaxPayloadError: the server takes no message of that size.
        """
        if not self.is_connected:
            raise nats.errors.ConnectionClosedError
        if len(body) > self._max_payload:
            raise nats.errors.MaxPayloadError
        if headers is None:
            command = prot_command.pub_cmd(subject, reply, body)
        else:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            command = prot_command.hpub_cmd(subject, reply, f"NATS/1.0\r\n{lines}\r\n".encode(), body)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(body)
        self._pending.append(command)
        self._pending_data_size += len(command)

    def write(self) -> None:
        """Write what was `put`, in this turn of the event loop.

        nats-py's `publish` leaves the writing to a task, one turn later. Here that task has what the socket does not
        take at once, and all that goes by WebSocket.
        """
        if not self._pending:
            return
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and not writer.transport.get_write_buffer_size():
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            writer.write(b"".join(pending))
        elif self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def dispose(self) -> None:
        """Close it, politely if that goes fast: a server that hangs would keep what was not sent."""
        if self._flush_queue is None:
            # connect() refused what it was given, as a URL or an nkey's seed, before it made anything to close.
            return
        with contextlib.suppress(OSError, nats.errors.Error, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self.close()
        writer = getattr(self._transport, "_io_writer", None)
        if isinstance(writer, asyncio.StreamWriter):
            # The TLS transport of Python 3.11.2, Debian 12's, cannot be aborted any more once it is closed.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
            try:
                await writer.wait_closed()
            except OSError:
                pass
            except asyncio.CancelledError:
                # Of the future on which close() waited until its time was up, as after a TLS handshake that failed.
                # Taken for our own, it would end for good the task that connects.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        # Nine of ten headers say how long a message stays, which only the server needs to know.
        if not headers or (headers[8:9] == b"\r" and b"Nats-Marker-Reason" not in headers):
            return None
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except (ValueError, IndexError):
            return {}
        # The names of status headers come as members of an enumeration.
        return parsed and {str(getattr(name, "value", name)): value for name, value in parsed.items()}

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> nats.aio.msg.Msg:
        return nats.aio.msg.Msg(
            _client=self,
            subject=subject.decode(errors="backslashreplace"),
            reply=reply.decode(errors="backslashreplace"),
            data=data,
            headers=headers,
            _sid=sid,
        )


@asynccontextmanager
async def open_connection(
    servers: Sequence[str],
    *,
    name: str,
    settings: FederationSettings,
    credentials: Credentials | None,
    on_problem: Callable[[str], None],
) -> AsyncIterator[tuple[Client, asyncio.Future[str]]]:
    """Connect to one of the servers.

    Gives the client and a future that is done, with the reason, once the connection has ended. `on_problem` is told
    of permissions that are missing.

    Raises:
        ConnectionLost: when none of the servers lets us in.
    """
    credentials = credentials or Credentials()
    secured = credentials.tls is not None or credentials.tls_handshake_first or any(map(_asks_for_tls, servers))
    client = Client(tls_required=secured)
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    errors: list[Exception] = []

    async def failed(error: Exception) -> None:
        errors[:] = [error]
        if "permissions violation" in str(error).lower():
            client.lacks = explain(error)
            on_problem(client.lacks)

    async def closed() -> None:
        if not ended.done():
            ended.set_result(explain(errors[0]) if errors else "the connection was closed")

    try:
        try:
            async with asyncio.timeout(settings.connect_timeout * (len(servers) + 1)):
                await client.connect(
                    list(servers),
                    name=name,
                    error_cb=failed,
                    closed_cb=closed,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=settings.connect_timeout,
                    ping_interval=_PING_INTERVAL,
                    max_outstanding_pings=2,
                    pending_size=0,
                    # Names are quoted for subjects already; nats-py would refuse those with any of Unicode's spaces.
                    skip_subject_validation=True,
                    **_options(credentials),
                )
        except Exception as error:  # of nats-py's and nkeys' own kinds: whatever it is, it is told and tried again
            raise ConnectionLost(
                explain(errors[0] if isinstance(error, nats.errors.NoServersError) and errors else error)
            ) from None
        yield client, ended
    finally:
        await client.dispose()


def _asks_for_tls(url: str) -> bool:
    return url.startswith(("tls://", "wss://"))


def _is_encrypted(transport: Any) -> bool:
    """Whether what we write goes through TLS."""
    # A redirection may have led from wss:// to a connection in clear: what counts is the connection.
    carrier = getattr(transport, "_io_writer", None) or getattr(transport, "_ws", None)
    return carrier is not None and carrier.get_extra_info("ssl_object") is not None


def _options(credentials: Credentials) -> dict[str, Any]:
    options: dict[str, Any] = {
        "user": credentials.user,
        "password": credentials.password,
        "token": credentials.token,
        "tls": credentials.tls,
        "tls_hostname": credentials.tls_hostname,
        "tls_handshake_first": credentials.tls_handshake_first or None,
        "inbox_prefix": credentials.inbox_prefix,
    }
    if credentials.nkey_seed_file is not None:
        options["nkeys_seed"] = str(credentials.nkey_seed_file)
    if credentials.creds_file is not None:
        options["user_credentials"] = str(credentials.creds_file)
    return {name: value for name, value in options.items() if value is not None}


def explain(error: BaseException) -> str:
    """What went wrong with a connection, for people."""
    if isinstance(error, ConnectionLost):
        return str(error)
    text = str(error).removeprefix("nats: ").strip("'")
    lower = text.lower()
    if "authorization violation" in lower or "authentication" in lower:
        return "NATS refuses our credentials: check user, password, token, nkey or creds file"
    if "permissions violation" in lower:
        return f"NATS lacks a permission for us: {text}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with NATS failed: {getattr(error, 'verify_message', '') or error.reason or text}"
    if isinstance(error, TimeoutError | nats.errors.TimeoutError) and not text:
        return "NATS does not answer"
    return f"no connection to NATS: {text or type(error).__name__}"
