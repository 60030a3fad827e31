"""What the doctor says of files, streams and clocks."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from eventfed import FederationSettings, Subjects, stream_configuration
from eventfed.asterisk_config import identifier_order_line, pjsip_snippet
from eventfed.model.device_kinds import DEFAULT_DEVICES
from eventfed.spec import EventSpec, VoicemailStorage
from eventfed_agent.members.names import Filters
from eventfed_cli._doctor import print_findings
from eventfed_cli._doctor_files import ServerFiles, read_server_files
from eventfed_cli._doctor_nats import clock_finding, stream_finding
from eventfed_cli._findings import Finding, Verdict

TOKEN = "secret-of-this-test"
SNIPPET = pjsip_snippet(agent_host="10.0.0.1", agent_port=5066, token=TOKEN)
PHONE = "[1001]\ntype = endpoint\nauth = 1001\n[1001]\ntype = auth\n"
GOOD = {
    "pjsip.conf": f"{PHONE}#include eventfed.conf\n",
    "eventfed.conf": SNIPPET,
    "voicemail.conf": "[general]\npollmailboxes = no\n",
    "asterisk.conf": "[options]\nentityid = 02:00:00:00:00:0a\n",
}


def server_files(**changes: str) -> ServerFiles:
    """The good files, with others by their name without ``.conf``."""
    files = GOOD | {f"{name}.conf": text for name, text in changes.items()}

    def source(name: str) -> Sequence[tuple[str, str]]:
        return [(name, files[name])] if name in files else []

    return read_server_files(source)


def findings(
    *,
    storage: VoicemailStorage = VoicemailStorage.SEPARATE,
    tokens: Sequence[str] = (TOKEN,),
    include: Sequence[str] = (),
    **changes: str,
) -> dict[str, Finding]:
    filters = Filters([EventSpec(type="device_state", include=tuple(include))])
    secrets = [SecretStr(token) for token in tokens]
    found = server_files(**changes).findings(
        "a", tokens=secrets, agent_host="10.0.0.1", storage=storage, filters=filters
    )
    assert {finding.subject for finding in found} == {"a"}
    return {finding.check: finding for finding in found}


def test_good_files_have_no_problem() -> None:
    found = findings()
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert set(found) == {
        "files", "pjsip.conf", "identifier order", "other inbound-publications", "entityid", "device filter",
        "pollmailboxes",
    }  # fmt: skip


@pytest.mark.parametrize("include", [["^SCCP/", "^Dongle/"], ["^Dongle/dongle[0-9]$"], ["."]])
def test_a_server_that_does_not_publish_what_include_names_is_noticed(include: list[str]) -> None:
    finding = findings(include=include)["device filter"]
    assert (finding.verdict, "Dongle/dongle0" in finding.detail or include == ["."]) == (Verdict.PROBLEM, True)
    assert "eventfed asterisk-config --config FILE --member a" in finding.change
    every = SNIPPET.replace(f"@device_state_filter = {DEFAULT_DEVICES}", "@device_state_filter = .")
    assert findings(include=include, eventfed=every)["device filter"].verdict is Verdict.OK


def test_a_device_filter_of_ones_own_is_tried_with_a_name_of_each_kind() -> None:
    def verdict(filter: str, *include: str) -> Verdict:
        own = SNIPPET.replace(DEFAULT_DEVICES, filter)
        return findings(include=include, eventfed=own)["device filter"].verdict

    assert verdict("^(Custom|PJSIP)[:/]") is Verdict.PROBLEM, "SIP/ and others are held back"
    assert verdict("^(CUSTOM|pjsip)[:/]", "^PJSIP/1") is Verdict.OK
    assert verdict("^PJSIP/", "^PJSIP/1") is Verdict.PROBLEM, "the probe is held back"
    assert verdict("^(Custom|Dongle)[:/]", "^Dongle/only7") is Verdict.NOT_CHECKED
    assert verdict(r"^(Custom|Dongle)[[:punct:]]", "^Dongle/") is Verdict.NOT_CHECKED


def test_a_server_that_publishes_no_devices_is_noticed() -> None:
    silent = SNIPPET.replace("event = asterisk-devicestate", "event = asterisk-other")
    assert findings(eventfed=silent)["device filter"].verdict is Verdict.PROBLEM


def test_with_a_shared_spool_the_probe_mailbox_has_to_pass_a_mailbox_filter_of_ones_own() -> None:
    def finding(text: str) -> Finding:
        own = SNIPPET.replace("event = asterisk-mwi\n", text)
        return findings(eventfed=own, storage=VoicemailStorage.SHARED)["mailbox filter"]

    assert finding("event = asterisk-mwi\n").verdict is Verdict.OK
    assert finding("event = asterisk-mwi\n@mailbox_state_filter = @(default|eventfed)$\n").verdict is Verdict.OK
    held_back = finding("event = asterisk-mwi\n@mailbox_state_filter = @default$\n")
    assert (held_back.verdict, held_back.detail) == (
        Verdict.PROBLEM, "@default$ holds back eventfed-probe@eventfed",
    )  # fmt: skip
    assert "@mailbox_state_filter" in held_back.change
    assert finding("event = asterisk-mwi\n@mailbox_state_filter = ^[[:digit:]]\n").verdict is Verdict.NOT_CHECKED
    assert finding("event = asterisk-other\n").verdict is Verdict.PROBLEM
    assert "mailbox filter" not in findings()


def test_the_snippet_that_is_not_included_is_missed() -> None:
    finding = findings(pjsip=PHONE)["pjsip.conf"]
    assert finding.verdict is Verdict.PROBLEM
    assert finding.detail == "there is no inbound-publication eventfed"
    assert "eventfed asterisk-config --config FILE --member a" in finding.change


def test_another_secret_is_noticed() -> None:
    finding = findings(tokens=["another-secret-than-that"])["pjsip.conf"]
    assert finding.detail == "its header secret is not that of agent.token_file"
    assert TOKEN not in f"{finding}"


def test_an_endpoint_that_a_user_name_identifies_is_open_to_everybody() -> None:
    finding = findings(eventfed=SNIPPET.replace("identify_by = header\n", ""))["pjsip.conf"]
    assert finding.verdict is Verdict.PROBLEM
    assert finding.change == "put this into [eventfed] type=endpoint: identify_by = header"


@pytest.mark.parametrize(
    "rival",
    [
        "[anonymous]\ntype = endpoint\n",
        "[net]\ntype = endpoint\n[net]\ntype = identify\nendpoint = net\nmatch = 192.0.2.7, 10.0.0.0/8\n",
    ],
)
def test_an_endpoint_that_is_identified_first_needs_the_order_line(rival: str) -> None:
    finding = findings(pjsip=f"{PHONE}{rival}#include eventfed.conf\n")["identifier order"]
    assert finding.verdict is Verdict.PROBLEM
    assert identifier_order_line() in finding.change
    assert "add to pjsip.conf: [global], type = global" in finding.change
    ordered = f"[global]\ntype = global\n{identifier_order_line()}\n{PHONE}{rival}#include eventfed.conf\n"
    assert findings(pjsip=ordered)["identifier order"].verdict is Verdict.OK
    late = ordered.replace("header,ip,username,anonymous", "ip,username,anonymous,header")
    assert "into the section [global]" in findings(pjsip=late)["identifier order"].change


def test_an_identify_of_other_addresses_is_no_rival() -> None:
    rival = "[net]\ntype = endpoint\n[net]\ntype = identify\nendpoint = net\nmatch = 192.0.2.0/24\n"
    assert findings(pjsip=f"{PHONE}{rival}#include eventfed.conf\n")["identifier order"].verdict is Verdict.OK


def test_another_inbound_publication_without_auth_is_a_door() -> None:
    door = "[old]\ntype = inbound-publication\nendpoint = bridge\n[bridge]\ntype = endpoint\n"
    finding = findings(pjsip=f"{PHONE}{door}#include eventfed.conf\n")["other inbound-publications"]
    assert finding.detail == "take PUBLISH from endpoints without auth: old (endpoint bridge)"


def test_endpoints_without_auth_are_those_to_try() -> None:
    text = "[p](!)\ntype = endpoint\n[1002](p)\n[1003](p)\nauth = x\n[odd name](p)\n"
    assert server_files(pjsip=f"{PHONE}{text}#include eventfed.conf\n").open_endpoints == ["1002"]


@pytest.mark.parametrize(
    ("text", "detail"), [("[options]\n", "not set"), ("[options]\nentityid = 12\n", "'12' is no EID")]
)
def test_a_missing_or_wrong_entityid_is_told_with_a_good_one(text: str, detail: str) -> None:
    finding = findings(asterisk=text)["entityid"]
    assert finding.detail.startswith(detail)
    assert finding.change.startswith("put this into [options] of asterisk.conf: entityid = 02:")


def test_polling_is_right_only_where_all_share_one_spool() -> None:
    polls = "[general]\npollmailboxes = yes\n"
    finding = findings(voicemail=polls)["pollmailboxes"]
    assert finding.verdict is Verdict.PROBLEM
    assert finding.change == "put this into [general] of voicemail.conf: pollmailboxes = no"
    assert findings(voicemail=polls, storage=VoicemailStorage.SHARED)["pollmailboxes"].verdict is Verdict.OK


def test_a_file_that_asterisk_refuses_is_told_with_its_line() -> None:
    finding = findings(pjsip=f"[global](+)\n{GOOD['pjsip.conf']}")["files"]
    assert finding.detail == "pjsip.conf:1: [global](+) adds to a section that does not exist"
    assert finding.verdict is Verdict.PROBLEM
    unread = findings(pjsip=f"#exec /bin/true\n{GOOD['pjsip.conf']}")["files"]
    assert unread.verdict is Verdict.NOT_CHECKED


# --- the stream ---

EXPECTED = stream_configuration(Subjects("pbx"), FederationSettings())


def test_the_stream_that_eventfed_makes_is_as_expected() -> None:
    finding = stream_finding(EXPECTED, {key: value for key, value in EXPECTED.items() if value != 0})
    assert (finding.verdict, finding.detail) == (
        Verdict.OK,
        "EVENTFED_pbx_local: as expected, file storage, 1 replica",
    )


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"max_msgs_per_subject": -1}, "max_msgs_per_subject is -1, not 1"),
        ({"allow_msg_ttl": False}, "allow_msg_ttl is false, not true"),
        ({"subjects": ["eventfed.pbx.local.>"]}, 'subjects is ["eventfed.pbx.local.>"], not ["'),
        ({"max_age": 10**9}, "max_age is 1000000000, not 0"),
        ({"allow_rollup_hdrs": None}, "allow_rollup_hdrs is not set, not true"),
    ],
)
def test_a_stream_of_another_kind_is_told_field_by_field(change: dict[str, object], detail: str) -> None:
    finding = stream_finding(EXPECTED, EXPECTED | change)
    assert finding.verdict is Verdict.PROBLEM
    assert detail in finding.detail
    assert finding.change.startswith("edit it (nats stream edit EVENTFED_pbx_local) to {")


def test_storage_and_replicas_are_the_operators_choice() -> None:
    finding = stream_finding(EXPECTED, EXPECTED | {"storage": "memory", "num_replicas": 3})
    assert (finding.verdict, finding.detail.partition(", ")[2]) == (Verdict.OK, "memory storage, 3 replicas")


# --- the clock ---


@pytest.mark.parametrize(
    ("ahead", "verdict", "says"),
    [(0.0, Verdict.OK, "0.0"), (-5.0, Verdict.PROBLEM, "behind NATS's"), (90.0, Verdict.PROBLEM, "ahead of NATS's")],
)
def test_the_clocks_difference_is_told(ahead: float, verdict: Verdict, says: str) -> None:
    now = time.time()
    stamp = datetime.fromtimestamp(now - ahead, UTC).isoformat().replace("+00:00", "123Z")
    finding = clock_finding(stamp, now - 0.01, now + 0.01)
    assert finding.verdict is verdict
    assert says in finding.detail
    assert bool(finding.change) == (verdict is Verdict.PROBLEM)


def test_a_slow_answer_is_no_skew() -> None:
    now = time.time()
    assert clock_finding("2026-11-23T12:00:00Z", 0, 2 * now).verdict is Verdict.OK


def test_a_server_that_does_not_tell_its_time_is_not_judged() -> None:
    assert clock_finding(None, 1.0, 2.0).verdict is Verdict.NOT_CHECKED


def test_findings_are_printed_as_they_are_brackets_too(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(pjsip=f"[global](+)\n{GOOD['pjsip.conf']}", eventfed=SNIPPET.replace("identify_by = header\n", ""))
    print_findings(list(found.values()))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["WHAT", "CHECK", "RESULT", "SEEN"]
    assert any("pjsip.conf:1: [global](+) adds to a section that does not exist" in line for line in lines)
    assert lines[-1] == "change: a, pjsip.conf: put this into [eventfed] type=endpoint: identify_by = header"
