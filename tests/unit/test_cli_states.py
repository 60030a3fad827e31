"""States and members as the commands print them."""

import re
from pathlib import Path

import pytest

from eventfed import (
    EID,
    Change,
    DeviceState,
    Event,
    EventType,
    Lease,
    MemberChanged,
    PresenceState,
    Reset,
    StateChanged,
    StateRemoved,
    Synced,
)
from eventfed_cli._bus import resolve
from eventfed_cli._bus_options import BusOptions
from eventfed_cli._states import StateFilter, aggregate, change_document, change_text, state_document, value_text
from eventfed_cli._tables import printable

A, B = EID.parse("02:00:00:00:00:0a"), EID.parse("02:00:00:00:00:0b")
LEASES = {A: Lease(A, uid="u", name="pbx-a", agent="node-1", instance="i", epoch=7, address="udp:10.0.0.1:5060")}
BUSY = Event.device("PJSIP/1001", DeviceState.BUSY, A, time=5.5)
FREE = Event.device("PJSIP/1001", DeviceState.NOT_INUSE, B)


def test_devices_are_put_together_by_rank() -> None:
    document, text = aggregate(EventType.DEVICE_STATE_CHANGE, [FREE, BUSY])
    assert document == {"state": "BUSY", "by": "rank"}
    assert text == "BUSY (by Asterisk's rank)"


def test_mailboxes_are_summed_up() -> None:
    boxes = [Event.mailbox("1001@default", 2, 1, A), Event.mailbox("1001@default", 1, 0, B)]
    assert aggregate(EventType.MWI, boxes) == ({"new": 3, "old": 1, "by": "sum"}, "3 new, 1 old (sum)")


def test_a_shared_mailbox_says_its_latest_news() -> None:
    older = Event(EventType.MWI, A, Event.mailbox("1001@default", 2, 1, A).elements, order=4)
    newer = Event(EventType.MWI, B, Event.mailbox("1001@default", 0, 3, B).elements, order=5)
    assert aggregate(EventType.MWI, [newer, older])[0] == {"new": 0, "old": 3, "by": "latest news"}


def test_a_state_says_whose_it_is() -> None:
    assert state_document(BUSY, LEASES) == {
        "type": "device_state",
        "name": "PJSIP/1001",
        "eid": "02:00:00:00:00:0a",
        "member": "pbx-a",
        "state": "BUSY",
        "time": 5.5,
    }
    assert state_document(Event.mailbox("1001@default", 1, 2, B), LEASES) == {
        "type": "mwi",
        "name": "1001@default",
        "eid": "02:00:00:00:00:0b",
        "member": None,
        "new": 1,
        "old": 2,
        "time": None,
    }
    assert value_text(Event.presence("CustomPresence:bob", PresenceState.AWAY, A)) == "AWAY"


def test_each_kind_of_change_has_a_document_and_a_line() -> None:
    changes: dict[Change, tuple[str, str]] = {
        StateChanged(BUSY, None): ("state", "PJSIP/1001: BUSY on pbx-a (02:00:00:00:00:0a)"),
        StateChanged(BUSY, FREE): ("state", "PJSIP/1001: BUSY (was NOT_INUSE) on pbx-a (02:00:00:00:00:0a)"),
        StateRemoved(FREE.state_key, FREE): ("removed", "PJSIP/1001: gone (was NOT_INUSE) on 02:00:00:00:00:0b"),
        MemberChanged(A, LEASES[A]): ("member", "pbx-a (02:00:00:00:00:0a): served by agent node-1"),
        MemberChanged(A, None): ("left", "02:00:00:00:00:0a: no agent serves it"),
        Synced(): ("synced", "synced: what follows is live"),
        Reset("2026"): ("reset", "the stream is another one: owners publish everything again"),
    }
    for change, (kind, line) in changes.items():
        assert change_document(change, LEASES)["change"] == kind
        assert change_text(change, LEASES) == line
    assert change_document(StateChanged(BUSY, FREE), LEASES)["previous"] == {"state": "NOT_INUSE"}


def test_a_selection_takes_what_fulfils_all_of_it() -> None:
    key = BUSY.state_key
    assert StateFilter().takes(key)
    assert StateFilter(EventType.DEVICE_STATE_CHANGE, A, re.compile("^PJSIP/10")).takes(key)
    assert not StateFilter(EventType.MWI).takes(key)
    assert not StateFilter(eid=B).takes(key)
    assert not StateFilter(name=re.compile("^1001")).takes(key)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(
        'events = [{ type = "device_state" }]\n[federation]\nname = "pbx"\nsite = "west"\n'
        '[nats]\nservers = ["nats://10.0.0.1:4222"]\nsubject_prefix = "ef"\nuser = "u"\npassword_file = "/p"\n'
        "[departure]\ngrace_period = 7\n"
    )
    return path


def test_options_replace_what_the_file_says_one_by_one(file: Path) -> None:
    access = resolve(BusOptions(config=file, federation="other"))
    assert (access.federation.name, access.federation.site) == ("other", "west")
    assert (access.nats.servers, access.nats.subject_prefix) == (("nats://10.0.0.1:4222",), "ef")
    assert (access.nats.user, access.settings.grace_period) == ("u", 7)
    moved = resolve(BusOptions(config=file, server=["nats://[::1]:4222", "tls://b:4222"], site="east", prefix="x"))
    assert moved.nats.servers == ("nats://[::1]:4222", "tls://b:4222")
    assert (moved.federation.site, moved.nats.subject_prefix) == ("east", "x")


def test_a_way_in_by_option_replaces_the_files(file: Path) -> None:
    access = resolve(BusOptions(config=file, token_file=Path("/t")))
    assert (access.nats.user, access.nats.password_file, access.nats.token_file) == (None, None, Path("/t"))


def test_without_a_file_nothing_is_made_on_nats() -> None:
    access = resolve(BusOptions(server=["nats://127.0.0.1:4222"], federation="pbx"))
    assert not access.settings.create_stream


def test_names_from_the_network_cannot_move_the_cursor() -> None:
    assert printable("PJSIP/1001 Ünïcode") == "PJSIP/1001 Ünïcode"
    assert printable("Custom:\x1b[2J\x9b\r") == "Custom:\\x1b[2J\\x9b\\r"
