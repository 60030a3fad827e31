"""The Asterisk Manager Interface: a sans-I/O parser and an asyncio client."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from ._errors import AmiConnectionLost, AmiError, AmiProtocolError

__all__ = ["AmiClient", "AmiEvents", "AmiMessage", "AmiParser"]

_LONGEST = 4 * 1024 * 1024
_WINDOW = 200
"""Setvars in flight at once."""


@dataclass(frozen=True, slots=True)
class AmiMessage:
    """One response or event: its headers in order. Names compare without case, a missing one is ``""``."""

    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """The first value of a header, or ``""``."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), "")

    def getlist(self, name: str) -> list[str]:
        """All values of a header that may come often (``Output``, ``Variable``)."""
        name = name.lower()
        return [value for key, value in self.headers if key.lower() == name]

    def __getitem__(self, name: str) -> str:
        return self.get(name)

    @property
    def event(self) -> str:
        """The event's name, ``""`` for a response."""
        return self.get("Event")


class AmiParser:
    """Bytes in, messages out; feed it as they come.

    The first line of a connection is the banner (``Asterisk Call Manager/11.0.0``); messages follow, each ended
    by an empty line (``main/manager.c``).
    """

    def __init__(self) -> None:
        self.banner = ""
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[AmiMessage]:
        """Take the next bytes and return the messages that they complete.

        Raises:
            AmiProtocolError: the banner is no AMI banner, or a message passes 4 MiB.
        """
        self._buffer += data
        if not self.banner:
            line, separator, rest = self._buffer.partition(b"\r\n")
            if not separator:
                self._check_length(256)
                return []
            self.banner = line.decode("utf-8", "replace")
            if not self.banner.startswith("Asterisk Call Manager/"):
                raise AmiProtocolError(f"no AMI there: the first line is {self.banner!r:.80}")
            self._buffer = rest
        messages = []
        start = 0
        while (end := self._buffer.find(b"\r\n\r\n", max(start, self._searched))) >= 0:
            messages.append(_parse(bytes(self._buffer[start:end])))
            start = end + 4
            self._searched = start
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - 3)
        self._check_length(_LONGEST)
        return messages

    def _check_length(self, longest: int) -> None:
        if len(self._buffer) > longest:
            raise AmiProtocolError(f"no AMI there: {len(self._buffer)} bytes without an end")


def _parse(block: bytes) -> AmiMessage:
    headers = []
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, separator, value = line.partition(":")
        if separator:
            headers.append((name.strip(), value.removeprefix(" ")))
        elif line:
            headers.append(("", line))
    return AmiMessage(tuple(headers))


class AmiEvents:
    """Events as they come, each with the ``time.monotonic()`` of its reading."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._waiting: deque[tuple[float, AmiMessage]] = deque()
        self._arrived = asyncio.Event()
        self._closed: str | None = None

    async def next(self, within: float = 10.0) -> tuple[float, AmiMessage]:
        """The next event.

        Raises:
            TimeoutError: none in `within` seconds.
            AmiConnectionLost: it is gone.
        """
        async with asyncio.timeout(within):
            while not self._waiting:
                if self._closed is not None:
                    raise AmiConnectionLost(self._closed)
                self._arrived.clear()
                await self._arrived.wait()
        return self._waiting.popleft()

    async def wait_for(self, wanted: Callable[[AmiMessage], bool], within: float = 10.0) -> tuple[float, AmiMessage]:
        """The next event that `wanted` accepts; the ones before it are gone. Raises like `next`."""
        deadline = time.monotonic() + within
        while True:
            at, message = await self.next(max(0.0, deadline - time.monotonic()))
            if wanted(message):
                return at, message

    def drain(self) -> list[tuple[float, AmiMessage]]:
        """All that has come and was not taken yet."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def _offer(self, at: float, message: AmiMessage) -> None:
        if not self._names or message.event in self._names:
            self._waiting.append((at, message))
            self._arrived.set()

    def _close(self, reason: str) -> None:
        self._closed = reason
        self._arrived.set()


class AmiClient(asyncio.Protocol):
    """One logged-in connection; make it with `connect`. Any number of actions may be in flight."""

    def __init__(self) -> None:
        self._parser = AmiParser()
        self._numbers = itertools.count(1)
        self._answers: dict[str, asyncio.Future[AmiMessage]] = {}
        self._lists: dict[str, tuple[list[AmiMessage], asyncio.Future[None]]] = {}
        self._listeners: list[AmiEvents] = []
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._reason = "the AMI connection is not open"
        self._booted = asyncio.Event()

    @classmethod
    async def connect(cls, host: str, port: int, username: str, secret: str, within: float = 5.0) -> Self:
        """Connect and log in.

        Raises:
            AmiError: refused; AmiConnectionLost: no AMI there, or no answer within `within` seconds.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                _, client = await loop.create_connection(cls, host, port)
                try:
                    await client.action("Login", Username=username, Secret=secret)
                except BaseException:
                    client.abort()
                    raise
        except (OSError, TimeoutError) as error:
            raise AmiConnectionLost(f"no AMI at {host} port {port}: {error or 'no answer'}") from error
        return client

    @property
    def banner(self) -> str:
        return self._parser.banner

    @property
    def connected(self) -> bool:
        return self._transport is not None

    async def wait_booted(self) -> None:
        """Return once the server has sent FullyBooted (main/manager.c sends it at login if it already is).

        Raises:
            AmiConnectionLost: it went first.
        """
        booted = asyncio.ensure_future(self._booted.wait())
        try:
            await asyncio.wait({booted, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            booted.cancel()
        if not self._booted.is_set():
            raise AmiConnectionLost(self._reason)

    async def action(self, name: str, /, **headers: str | Iterable[str]) -> AmiMessage:
        """Send an action and return its response; a header with several values is sent as often.

        Raises:
            AmiError: the response is an error; AmiConnectionLost.
        """
        answer = self._send(name, headers)
        return _checked(name, await answer)

    async def action_list(self, name: str, /, **headers: str | Iterable[str]) -> list[AmiMessage]:
        """Send an action that answers with a list of events, and return these without the closing one.

        Raises:
            AmiError: like `action`.
        """
        identifier = self._identifier()
        events: list[AmiMessage] = []
        done = asyncio.get_running_loop().create_future()
        self._lists[identifier] = (events, done)
        try:
            _checked(name, await self._send(name, headers, identifier))
            await done
        finally:
            self._lists.pop(identifier, None)
            if not done.done():
                done.cancel()
        return events

    @contextmanager
    def events(self, *names: str) -> Iterator[AmiEvents]:
        """Collect the events of these names (all without any) inside the ``with`` block."""
        listener = AmiEvents(frozenset(names))
        if self._transport is None:
            listener._close(self._reason)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    async def command(self, line: str) -> str:
        """Run a command of the CLI and return what it prints."""
        return "\n".join((await self.action("Command", Command=line)).getlist("Output"))

    async def set_variable(self, name: str, value: str) -> None:
        """Set a global variable or a writable function, such as ``DEVICE_STATE(Custom:lamp)``."""
        await self.action("Setvar", Variable=name, Value=value)

    async def set_variables(self, pairs: Iterable[tuple[str, str]]) -> None:
        """`set_variable` for many, in order, with up to 200 in flight (13,000 a second were measured)."""
        flight: deque[asyncio.Future[AmiMessage]] = deque()
        for name, value in pairs:
            flight.append(self._send("Setvar", {"Variable": name, "Value": value}))
            if len(flight) >= _WINDOW:
                _checked("Setvar", await flight.popleft())
        while flight:
            _checked("Setvar", await flight.popleft())

    async def get_variable(self, name: str) -> str:
        """Read a global variable or a function, such as ``DEVICE_STATE(PJSIP/1001)``."""
        return (await self.action("Getvar", Variable=name))["Value"]

    async def device_states(self) -> dict[str, str]:
        """Aggregate state by device, of every device that Asterisk has in its cache (DeviceStateList)."""
        return {event["Device"]: event["State"] for event in await self.action_list("DeviceStateList")}

    async def originate(
        self, channel: str, *, variables: Mapping[str, str] | None = None, within: float = 30.0, **headers: str
    ) -> None:
        """Place a call (asynchronously: returns at once). `within` in seconds is how long it may ring."""
        await self.action(
            "Originate",
            Channel=channel,
            Timeout=str(int(within * 1000)),
            Async="true",
            Variable=[f"{name}={value}" for name, value in (variables or {}).items()],
            **headers,
        )

    async def close(self) -> None:
        """Close the connection and wait until it is."""
        if self._transport is not None:
            self._transport.close()
            await asyncio.shield(self._gone)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _identifier(self) -> str:
        return f"eventfed-{next(self._numbers)}"

    def _send(
        self, name: str, headers: Mapping[str, str | Iterable[str]], identifier: str | None = None
    ) -> asyncio.Future[AmiMessage]:
        if self._transport is None:
            raise AmiConnectionLost(self._reason)
        identifier = identifier or self._identifier()
        lines = [f"Action: {name}", f"ActionID: {identifier}"]
        for key, values in headers.items():
            lines += [f"{key}: {value}" for value in ([values] if isinstance(values, str) else values)]
        if any("\r" in line or "\n" in line for line in lines):
            raise AmiError(f"a header of the action {name} holds a line break")
        answer: asyncio.Future[AmiMessage] = asyncio.get_running_loop().create_future()
        self._answers[identifier] = answer
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._parser.feed(data)
        except AmiProtocolError as error:
            self._reason = str(error)
            self.abort()
            return
        at = time.monotonic()
        for message in messages:
            self._dispatch(at, message)

    def _dispatch(self, at: float, message: AmiMessage) -> None:
        identifier = message["ActionID"]
        if not message.event:
            answer = self._answers.pop(identifier, None)
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        if identifier in self._lists:
            events, done = self._lists[identifier]
            if not message["EventList"]:
                events.append(message)
            elif not done.done():
                done.set_result(None)
            return
        if message.event == "FullyBooted":
            self._booted.set()
        for listener in self._listeners:
            listener._offer(at, message)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._reason == "the AMI connection is not open":
            self._reason = f"the AMI connection is gone: {error or 'closed'}"
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AmiConnectionLost(self._reason))
                answer.exception()  # anyone who has given up waiting shall cause no warning
        for _, done in self._lists.values():
            if not done.done():
                done.set_exception(AmiConnectionLost(self._reason))
                done.exception()
        for listener in self._listeners:
            listener._close(self._reason)
        if not self._gone.done():
            self._gone.set_result(None)


def _checked(name: str, answer: AmiMessage) -> AmiMessage:
    if answer["Response"] == "Error":
        raise AmiError(f"the AMI refused {name}: {answer['Message']}")
    return answer
