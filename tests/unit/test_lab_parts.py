"""Parts of the lab that need no server."""

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed import DeviceState
from eventfed_lab import LabError, MailboxCounts, Notification, VoicemailSpool, allot
from eventfed_lab._configuration import last_state
from eventfed_lab._publications import OutboundPublication
from eventfed_lab._sip import SipSocket


def test_two_allotments_never_meet_and_one_is_free_again_after_its_release() -> None:
    first, second = allot("127.0.0.1"), allot("127.0.0.1")
    assert not set(first.ports) & set(second.ports)
    for taken in (first, second):
        taken.release()
    with allot() as one, allot() as two:
        assert one.host != two.host
        assert one.sip_port == two.sip_port == 5060


def test_an_allotted_port_can_be_bound() -> None:
    with allot("127.0.0.1") as allotment, socket.socket() as server:
        server.bind((allotment.host, allotment.sip_port))


def test_only_loopback_is_allotted() -> None:
    with pytest.raises(LabError, match="loopback only"):
        allot("192.0.2.1")


@given(st.integers(1, 300), st.integers(1, 40))
def test_the_promised_last_state_is_what_the_loop_sets_last(count: int, devices: int) -> None:
    states: dict[int, DeviceState] = {}
    for step in range(count):
        device = step % devices
        states[device] = DeviceState.INUSE if (step // devices + device) % 2 == 0 else DeviceState.NOT_INUSE
    assert {device: last_state(count, devices, device) for device in states} == states


def test_the_spool_counts_what_comes_is_heard_and_goes(tmp_path: Path) -> None:
    spool = VoicemailSpool(tmp_path)
    assert spool.counts("1001@default") == MailboxCounts(0, 0)
    spool.add("1001@default", 2)
    spool.hear("1001@default")
    spool.add("1001@default")
    assert spool.counts("1001@default") == MailboxCounts(1, 2)
    assert spool.counts("1002@default") == MailboxCounts(0, 0)
    spool.clear("1001@default")
    assert spool.counts("1001@default") == MailboxCounts(0, 0)


def test_a_notification_is_read() -> None:
    lamp = Notification(0.0, "Messages-Waiting: yes\r\nMessage-Account: sip:a@b\r\nVoice-Message: 4/2 (0/0)\r\n")
    assert lamp.messages_waiting
    assert lamp.counts == MailboxCounts(4, 2)
    with pytest.raises(LabError, match="without a dialog's state"):
        _ = lamp.dialog_state


async def test_a_simulated_server_prolongs_its_publication_as_asterisk_does_when_its_time_is_over() -> None:
    sent: list[tuple[float, bytes, str, str | None]] = []
    loop, enough = asyncio.get_running_loop(), asyncio.Event()

    class Socket:
        async def send(self, request: object, agent: object) -> object:
            etag = f"e{len(sent)}" if len(sent) != 2 else None
            headers = {"SIP-ETag": etag}
            return SimpleNamespace(code=412 if len(sent) == 2 else 200, expires=1, min_expires=None, headers=headers)

    publication: Any = OutboundPublication(cast(SipSocket, Socket()), "asterisk-mwi", ("10.0.0.1", 5066), 2, None)

    def request(body: bytes, expires: int) -> object:
        assert expires == 2
        sent.append((loop.time(), body, publication._call_id, publication._etag))
        if len(sent) == 3:
            enough.set()
        return object()

    publication._request = request
    publication.put(b"state")
    running = asyncio.create_task(publication.run())
    await enough.wait()
    running.cancel()
    await asyncio.wait([running])
    (first, state, call, none), (second, renewal, same, etag), (_, again, other, gone) = sent
    # It was granted one second, and asked for two.
    assert second - first >= 2
    assert (state, renewal, again) == (b"state", b"", b"")
    assert (none, etag, gone) == (None, "e1", None)
    assert call == same != other
