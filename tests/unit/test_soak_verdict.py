"""What makes the soak fail, and what does not."""

from collections import Counter
from typing import Any

import pytest

from eventfed import EID, DeviceState, Event, Subjects, encode_envelope
from eventfed_lab import ProcessFigures
from soak_bus import BusCount
from soak_figures import MEBIBYTE, Counts, Reading
from soak_report import Settings, document, record, section
from soak_verdict import Phase

SUBJECTS = Subjects("lab")
A = EID.derive("a")
BEGIN, END = "<!-- soak:begin -->", "<!-- soak:end -->"
SETTINGS = Settings("22.10.1", 60, False, 10, 10, 50, 300, 50, "abc1234")


def counts(**values: Any) -> Counts:
    given: dict[str, Any] = {
        name: Counter(value) if isinstance(value, dict) else value for name, value in values.items()
    }
    return Counts(**given)


def reading(at: float, resident: float = 60.0, tasks: int = 31, **values: Any) -> Reading:
    figures = ProcessFigures(at / 100, int(resident * MEBIBYTE), 10, 1)
    processes = dict.fromkeys(("agent a", "Asterisk a", "nats-server"), figures)
    return Reading(at, counts(**values), processes, {"agent a": tasks})


def phase(*readings: Reading, name: str = "idle", **values: Any) -> Phase:
    """A phase of which each reading but the first ends a minute."""
    result = Phase(name, servers=3, **values)
    for number, one in enumerate(readings):
        result.readings.append(one)
        if number:
            result.end_minute()
    return result


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"asked": {"initial": 3}, "dumps": 3}, "3 dumps were asked for (initial: 3)"),
        ({"dumps": 1}, "1 dumps were made without a reason"),
        ({"injected": {"a": 308}}, "308 injections (a: 308)"),
        ({"bus": {"device states": 1}}, "1 device states on the bus"),
        ({"bus": {"mailbox states": 1}}, "1 mailbox states on the bus"),
        ({"bus": {"tombstones": 1}}, "on the bus: tombstones: 1"),
        ({"bus": {"refreshes": 1}}, "on the bus: refreshes: 1"),
        ({"announced": 2}, "announced 2 states"),
        ({"notified": 3}, "lamps were told 3 times"),
        ({"faults": {"eventfed_member_gaps_total": 1}}, "eventfed_member_gaps_total: 1"),
    ],
)
def test_what_happens_in_a_minute_without_a_change_is_a_finding(what: dict[str, Any], told: str) -> None:
    [line, *_] = phase(reading(0), reading(60), reading(120, **what)).findings()
    assert line.startswith("idle, minute 2: ")
    assert told in line


def test_a_server_that_is_identified_again_is_a_finding() -> None:
    [line] = phase(reading(0, injected={"a": 5}), reading(60)).findings()
    assert "it was identified again" in line


def test_leases_renewals_and_requests_to_nats_are_none() -> None:
    bus = {"leases": 36, "renewals": 5, "requests to NATS": 12, "deliveries and answers": 100, "advisories": 1}
    assert phase(reading(0), reading(60, bus=bus)).findings() == []


def test_a_sweep_that_is_due_is_none() -> None:
    readings = reading(0), reading(60, dumps=3)
    assert phase(*readings, sweeps_allowed=3).findings() == []
    assert phase(*readings, sweeps_allowed=0).findings() != []
    asked = reading(0), reading(60, dumps=3, asked={"initial": 3})
    assert phase(*asked, sweeps_allowed=3).findings() != []


def test_a_change_asks_for_a_message_and_for_as_many_injections_as_there_are_other_servers() -> None:
    changed: dict[str, Any] = {
        "device_changes": 10,
        "mailbox_changes": 2,
        "bus": {"device states": 10, "mailbox states": 2},
    }
    assert phase(reading(0), reading(60, injected={"a": 8, "b": 9, "c": 9}, **changed), name="load").findings() == []
    [line] = phase(reading(0), reading(60, injected={"a": 9, "b": 9, "c": 9}, **changed), name="load").findings()
    assert "27 injections" in line
    assert "at most 26 were asked for" in line
    [line] = phase(reading(0), reading(60, **(changed | {"device_changes": 9})), name="load").findings()
    assert "10 device states on the bus since the phase began, of 9 changes" in line


def test_an_injection_that_is_late_counts_for_the_change_that_asked_for_it() -> None:
    first: dict[str, Any] = {"device_changes": 10, "bus": {"device states": 10}}
    readings = reading(0), reading(60, injected={"a": 10}, **first), reading(120, injected={"a": 10, "b": 10}, **first)
    assert phase(*readings).findings() == []


def test_a_wrong_value_and_growth_are_findings() -> None:
    one = phase(*(reading(15 * number, resident=60 + number, tasks=31 + number) for number in range(40)))
    one.wrong = ["server a shows Custom:x as INUSE, not BUSY"]
    found = one.findings()
    assert "idle, at the end: server a shows Custom:x as INUSE, not BUSY" in found
    assert [line for line in found if "resident_mib of agent a rose" in line]
    assert [line for line in found if "tasks of agent a rose" in line]


def test_messages_are_told_apart_by_what_they_say() -> None:
    count = BusCount(SUBJECTS)
    event = Event.device("Custom:x", DeviceState.INUSE, A).stamped(epoch=1, sequence=1)
    other = Event.device("Custom:x", DeviceState.BUSY, A).stamped(epoch=1, sequence=3)
    mailbox = Event.mailbox("1001@default", 1, 0, A).stamped(epoch=1, sequence=4)
    subject = SUBJECTS.state(event.state_key)
    count.note(subject, encode_envelope(event))
    count.note(subject, encode_envelope(event.stamped(epoch=1, sequence=2)))
    count.note(subject, encode_envelope(event), "$JS.ACK.EVENTFED_lab_local.x.1.1.1.1.0")
    count.note(subject, encode_envelope(other))
    count.note(SUBJECTS.state(mailbox.state_key), encode_envelope(mailbox))
    count.note(subject, b"")
    count.note(subject, b"no envelope")
    for one in (SUBJECTS.member(A), SUBJECTS.roster("n"), SUBJECTS.report("g"), SUBJECTS.refresh(), "eventfed.lab.x"):
        count.note(one, b"x")
    for one in ("$JS.API.CONSUMER.MSG.NEXT.S.C", "$JS.EVENT.ADVISORY.X", "_INBOX.a.1", "others.subject"):
        count.note(one, b"x")
    assert count.kinds == {
        "device states": 2,
        "renewals": 1,
        "mailbox states": 1,
        "tombstones": 1,
        "malformed": 1,
        "leases": 1,
        "rosters": 1,
        "reports": 1,
        "refreshes": 1,
        "requests to NATS": 1,
        "advisories": 1,
        "deliveries and answers": 2,
        "other": 2,
    }


def test_a_value_that_the_bus_had_before_is_renewed_and_no_change() -> None:
    count = BusCount(SUBJECTS)
    event = Event.device("Custom:x", DeviceState.INUSE, A).stamped(epoch=1, sequence=1)
    count.know(event)
    count.note(SUBJECTS.state(event.state_key), encode_envelope(event.stamped(epoch=1, sequence=2)))
    assert count.kinds == {"renewals": 1}


def test_a_record_replaces_the_last_run_of_its_title_and_leaves_the_others(tmp_path: Any) -> None:
    file = tmp_path / "document.md"
    file.write_text(f"before\n{BEGIN}\n#### Another\n\nold\n{END}\nafter\n")
    held = phase(reading(0), reading(60))
    record(section(SETTINGS, [held], []), file)
    record(section(SETTINGS, [held], [*held.findings(), "it fell"]), file)
    text = file.read_text()
    assert text.startswith(f"before\n{BEGIN}\n#### Another\n\nold\n\n#### Asterisk 22.10.1, expiration 60 s, Separate")
    assert text.endswith(f"{END}\nafter\n")
    assert text.count("#### ") == 2
    assert "* it fell" in text
    assert max(map(len, text.splitlines())) <= 100
    (tmp_path / "none.md").write_text("nothing")
    with pytest.raises(SystemExit, match="one pair of"):
        record("#### x", tmp_path / "none.md")


def test_the_document_says_whether_it_held() -> None:
    held, failed = phase(reading(0), reading(60)), phase(reading(0), reading(60, injected={"a": 1}))
    assert document(SETTINGS, [held], held.findings())["held"] is True
    written = document(SETTINGS, [failed], failed.findings())
    assert written["held"] is False
    assert written["phases"]["idle"]["minutes"][0]["counts"]["injected"] == {"a": 1}
