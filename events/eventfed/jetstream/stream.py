"""The stream of a federation, and how the JetStream API is asked."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from ..core.messages import Message
from ..core.settings import FederationSettings
from ..model.errors import EventfedError
from ..wire.subjects import Subjects
from .advice import with_advice
from .headers import headers_of

__all__ = ["MATTERS", "JetStream", "StreamUnavailable", "stream_configuration", "stream_faults"]

_NANO = 1_000_000_000
_STREAM_NOT_FOUND = 10059
_NAME_IN_USE = 10058
_WRONG_LAST_SEQUENCE = 10071
_MARKER_TTL = 10


MATTERS = (
    "subjects",
    "retention",
    "discard",
    "max_msgs_per_subject",
    "max_msgs",
    "max_bytes",
    "max_age",
    "allow_msg_ttl",
    "subject_delete_marker_ttl",
    "allow_rollup_hdrs",
)
"""Where a stream must be as eventfed makes it; storage, replicas and direct reads are free. So are limits of what it
holds, with ``discard: new``: a full stream that drops its oldest states would put out lamps."""

_LIMITS = ("max_msgs", "max_bytes")
_NEVER = ("sealed", "no_ack", "discard_new_per_subject")
_LEAST_MESSAGE = 66 * 1024
"""Headers, and the largest envelope."""


class StreamUnavailable(EventfedError):
    """JetStream answers with an error: the text says which."""

    def __init__(self, what: str, code: int, text: str) -> None:
        super().__init__(f"{what}: {with_advice(text, code)}")
        self.code = code

    @property
    def is_conflict(self) -> bool:
        """Whether the condition of a write did not hold: somebody else has written since."""
        return self.code == _WRONG_LAST_SEQUENCE


class _Reply(Protocol):
    data: bytes


class _Requester(Protocol):
    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109
        *,
        headers: dict[str, str] | None = None,
    ) -> _Reply: ...


def stream_configuration(subjects: Subjects, settings: FederationSettings) -> dict[str, Any]:
    """The body of ``STREAM.CREATE`` (NATS 2.11 and later)."""
    return {
        "name": subjects.stream,
        "subjects": subjects.stored,
        "retention": "limits",
        "storage": settings.storage.value,
        "discard": "old",
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "num_replicas": settings.replicas,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": _MARKER_TTL * _NANO,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }


def stream_faults(expected: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Where a stream's configuration, of ``STREAM.INFO``, is not one that eventfed can work with.

    Args:
        expected: of `stream_configuration`.
    """
    full = seen.get("discard") == "new"
    faults: list[str] = []
    for name in MATTERS:
        want, have = expected[name], seen.get(name)
        if isinstance(want, list):
            want, have = sorted(want), sorted(have or [])
        if name in _LIMITS and (full or (have or -1) < 0):
            continue
        if name == "discard" and full:
            continue
        if (have or 0) != (want or 0):
            faults.append(f"{name} is {_shown(have)}, not {_shown(want)}")
    size = seen.get("max_msg_size") or -1
    if 0 < size < _LEAST_MESSAGE:
        faults.append(f"max_msg_size is {size}, not {_LEAST_MESSAGE} or more")
    faults += [f"{name} is true, not false" for name in _NEVER if seen.get(name)]
    faults += [f"it is a copy ({name}) of another stream" for name in ("mirror", "sources") if seen.get(name)]
    return faults


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value)


class JetStream:
    """The few requests that we make of the JetStream API.

    Args:
        prefix: ``$JS.API``, or ``$JS.<domain>.API`` for the JetStream of another domain.
        timeout: how long an answer may take, in seconds.
    """

    def __init__(self, client: _Requester, *, prefix: str = "$JS.API", timeout: float = 2.0) -> None:
        self._client = client
        self.prefix = prefix
        self._timeout = timeout

    async def info(self, stream: str) -> dict[str, Any]:
        """What the server tells of the stream.

        Raises:
            StreamUnavailable: when there is none.
        """
        return await self._ask(f"STREAM.INFO.{stream}", None)

    async def create_stream(self, configuration: dict[str, Any]) -> None:
        """Make the stream; one that is there with another configuration is left as it is."""
        try:
            await self._ask(f"STREAM.CREATE.{configuration['name']}", configuration)
        except StreamUnavailable as error:
            if error.code != _NAME_IN_USE:
                raise

    async def update_stream(self, configuration: dict[str, Any]) -> None:
        """Give the stream another configuration.

        Raises:
            StreamUnavailable: when there is none, or it cannot be changed so.
        """
        await self._ask(f"STREAM.UPDATE.{configuration['name']}", configuration)

    async def delete_stream(self, stream: str) -> None:
        """Delete the stream.

        Raises:
            StreamUnavailable: when there is none.
        """
        await self._ask(f"STREAM.DELETE.{stream}", None)

    async def store(self, subject: str, message: Message) -> int:
        """Store one message; the result is its sequence.

        Raises:
            StreamUnavailable: when it is refused, as where what it expects does not stand there.
        """
        reply = await self._client.request(subject, message.body, timeout=self._timeout, headers=headers_of(message))
        return int(_read(subject, reply)["seq"])

    async def create_consumer(self, stream: str, configuration: dict[str, Any]) -> int:
        """Make an ephemeral consumer; the result is how many messages it has to deliver."""
        body = {"stream_name": stream, "config": configuration, "action": "create"}
        # Its name is chance; what is told of it is not.
        answer = await self._ask(f"CONSUMER.CREATE.{stream}.{configuration['name']}", body, told="CONSUMER.CREATE")
        return int(answer.get("num_pending", 0))

    async def _ask(self, what: str, body: dict[str, Any] | None, *, told: str = "") -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        return _read(told or what, await self._client.request(f"{self.prefix}.{what}", payload, timeout=self._timeout))

    @staticmethod
    def is_missing(error: StreamUnavailable) -> bool:
        """Whether the error says that there is no such stream."""
        return error.code == _STREAM_NOT_FOUND


def _read(what: str, reply: _Reply) -> dict[str, Any]:
    answer = json.loads(reply.data)
    if not isinstance(answer, dict):
        raise StreamUnavailable(what, 0, "an answer that nobody understands")
    error = answer.get("error")
    if isinstance(error, dict):
        code = int(error.get("err_code", 0))
        raise StreamUnavailable(what, code, str(error.get("description", "no reason given"))[:200])
    return answer
