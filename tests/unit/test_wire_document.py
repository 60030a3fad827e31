"""docs/wire.md says what the code does."""

import json
import re
from pathlib import Path

import msgpack
import pytest

from eventfed import (
    EID,
    ENVELOPE_VERSION,
    MAX_ENVELOPE,
    MAX_NAME,
    DeviceState,
    Event,
    FederationSettings,
    Mailbox,
    Subjects,
    decode_envelope,
    decode_lease,
    encode_envelope,
    encode_lease,
    stream_configuration,
)
from eventfed.wire.report import AgentReport, ReportedMember, decode_report, encode_report, token_mark
from eventfed.wire.roster import MAX_ROSTER, Roster, RosterMember, decode_roster, encode_roster

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
A = EID.parse("02:00:00:00:00:0a")


def example(title: str) -> str:
    """The code block with this info string."""
    found = re.search(rf"```{title}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, title
    return found[1]


def test_the_envelope_of_the_example_is_read_and_written() -> None:
    data = bytes.fromhex(example("hex envelope"))
    event = decode_envelope(data)
    assert (event.key, event.eid, event.counts) == ("1001@default", A, Mailbox(1, 0))
    assert (event.epoch, event.sequence) == (1795459590000, 7)
    assert encode_envelope(event) == data
    assert f"{len(data)} bytes" in DOCUMENT


def test_the_lease_of_the_example_is_read_and_written() -> None:
    data = bytes.fromhex(example("hex lease"))
    lease = decode_lease(data)
    assert (lease.eid, lease.name, lease.agent, lease.complete) == (A, "asterisk-0", "node-1", True)
    assert encode_lease(lease) == data
    assert f"{len(data)} bytes" in DOCUMENT


def test_the_roster_of_the_example_is_read_and_written() -> None:
    data = bytes.fromhex(example("hex roster"))
    roster = decode_roster(data)
    assert roster == Roster("node-1", (RosterMember("asterisk-0", "0a6f6c1e", "10.0.0.7"),))
    assert encode_roster(roster) == data
    assert f"{len(data)} bytes" in DOCUMENT
    assert f"at most {MAX_ROSTER}" in DOCUMENT


def test_the_report_of_the_example_is_read_and_written() -> None:
    data = bytes.fromhex(example("hex report"))
    report = decode_report(data)
    member = ReportedMember("0a6f6c1e", "synced", "", str(A), 0, token_mark("secret"))
    assert report == AgentReport("pbx-agent-x7k2p", "83339534803f07ba", "node-1", "0.1.0", (member,), ("Custom:night",))
    assert encode_report(report) == data
    assert f"{len(data)} bytes" in DOCUMENT
    assert f"forgets it after {FederationSettings().report_lifetime:.0f} s" in DOCUMENT


@pytest.mark.parametrize("title", ["envelope", "lease", "roster", "report"])
def test_the_bytes_are_what_stands_beside_them(title: str) -> None:
    body = msgpack.unpackb(bytes.fromhex(example(f"hex {title}")))
    readable = json.loads(json.dumps(body, default=lambda octets: octets.hex()))
    assert readable == json.loads(example(f"json {title}"))


def test_the_stream_is_made_as_described() -> None:
    assert json.loads(example("json")) == stream_configuration(Subjects("voice_pbx"), FederationSettings())


def test_the_subjects_are_the_ones_shown() -> None:
    subjects = Subjects("voice_pbx")
    assert subjects.state(Event.mailbox("1001@default", 1, 0, A).state_key) in DOCUMENT
    assert subjects.state(Event.device("Custom:front door", DeviceState.INUSE, A).state_key) in DOCUMENT


def test_the_numbers_are_the_ones_in_force() -> None:
    settings = FederationSettings()
    assert ENVELOPE_VERSION == 1
    assert f"{MAX_ENVELOPE:,} bytes" in DOCUMENT
    assert f"1 to {MAX_NAME} bytes" in DOCUMENT
    assert f"renews it every {settings.lease_renewal:.0f} s, with a TTL of {settings.lease_ttl:.0f} s" in DOCUMENT
    assert f"Nats-TTL: {settings.state_ttl:.0f}s" in DOCUMENT
    assert f"Nats-TTL: {settings.tombstone_ttl:.0f}s" in DOCUMENT
