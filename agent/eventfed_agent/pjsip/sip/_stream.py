"""Cuts a byte stream into SIP messages (RFC 3261 18.3), without I/O."""

from __future__ import annotations

from ._errors import SipSyntaxError
from ._messages import MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, content_length

__all__ = ["StreamFramer"]

_END_OF_HEAD = b"\r\n\r\n"


class StreamFramer:
    """One direction of one connection.

    After a SipSyntaxError the connection has to be closed: where the next message would start is unknown, and
    every further call raises again.
    """

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._size: int | None = None
        self._failure: str | None = None

    @property
    def partial(self) -> bool:
        """True while the beginning of a message waits for its end."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take in what was read."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """The next whole message, or None until more is read; raises SipSyntaxError."""
        if self._failure is not None:
            raise SipSyntaxError(self._failure)
        try:
            if self._size is None:
                self._size = self._find_size()
        except SipSyntaxError as error:
            self._failure = str(error)
            self._buffer.clear()
            raise
        if self._size is None or len(self._buffer) < self._size:
            return None
        message = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        self._size = None
        return message

    def _find_size(self) -> int | None:
        """The size of the message at the front once its head is complete. Skips keep-alives (RFC 5626 3.5.1)."""
        if self._scanned == 0:
            self._skip_line_breaks()
        end = self._buffer.find(_END_OF_HEAD, max(0, self._scanned - len(_END_OF_HEAD) + 1))
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > MAX_HEAD_BYTES:
                raise SipSyntaxError(f"no end of headers within {MAX_HEAD_BYTES} bytes")
            return None
        self._scanned = 0
        if end > MAX_HEAD_BYTES:
            raise SipSyntaxError(f"no end of headers within {MAX_HEAD_BYTES} bytes")
        length = content_length(bytes(self._buffer[:end]))
        if length is None:
            raise SipSyntaxError("a message on a stream needs a Content-Length")
        size = end + len(_END_OF_HEAD) + length
        if size > self._max_bytes:
            raise SipSyntaxError(f"the message is larger than {self._max_bytes} bytes")
        return size

    def _skip_line_breaks(self) -> None:
        breaks = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
        del self._buffer[:breaks]
