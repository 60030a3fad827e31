"""What the snippet for ``pjsip.conf`` holds; that Asterisk takes it is shown in tests/asterisk."""

import re

import pytest
from pydantic import SecretStr

from eventfed.asterisk_config import SnippetError, identifier_order_line, pjsip_snippet
from eventfed.model.device_kinds import DEFAULT_DEVICES

TOKEN = "0123456789abcdef"


def sections(text: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        if line.startswith(";") or not line.strip():
            continue
        if header := re.fullmatch(r"\[(.+)\]", line):
            found.append((header[1], {}))
        else:
            name, value = line.split(" = ", 1)
            found[-1][1][name] = value
    return found


def test_all_sections_are_there_and_global_is_left_alone() -> None:
    read = sections(pjsip_snippet(agent_host="10.0.0.9", agent_port=5066, token=SecretStr(TOKEN)))
    assert [(name, options["type"]) for name, options in read] == [
        ("eventfed", "endpoint"),
        ("eventfed", "identify"),
        ("eventfed-devicestate", "outbound-publish"),
        ("eventfed-mwi", "outbound-publish"),
        ("eventfed", "inbound-publication"),
        ("eventfed", "asterisk-publication"),
    ]
    endpoint, identify, devices, mailboxes, _, publication = (options for _, options in read)
    assert endpoint["identify_by"] == "header"
    assert identify["match_header"] == f"X-Eventfed-Token: {TOKEN}"
    assert devices["server_uri"] == mailboxes["server_uri"] == "sip:eventfed@10.0.0.9:5066"
    assert devices["@device_state_filter"] == DEFAULT_DEVICES
    assert publication["devicestate_publish"] == "eventfed-devicestate"
    assert publication["mailboxstate_publish"] == "eventfed-mwi"


def test_a_previous_token_is_accepted_as_well() -> None:
    text = pjsip_snippet(agent_host="10.0.0.9", agent_port=5066, token=TOKEN, previous_token="previous-token")
    headers = [options["match_header"] for _, options in sections(text) if "match_header" in options]
    assert headers == [f"X-Eventfed-Token: {TOKEN}", "X-Eventfed-Token: previous-token"]
    names = [name for name, options in sections(text) if options["type"] == "identify"]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("host", "transport", "uri"),
    [
        ("fd00::1", "udp", "sip:eventfed@[fd00::1]:5066"),
        ("agent.voice.svc", "udp", "sip:eventfed@agent.voice.svc:5066"),
        ("10.0.0.9", "tcp", r"sip:eventfed@10.0.0.9:5066\;transport=tcp"),
    ],
)
def test_the_server_uri_suits_address_and_transport(host: str, transport: str, uri: str) -> None:
    text = pjsip_snippet(agent_host=host, agent_port=5066, token=TOKEN, transport=transport)  # type: ignore[arg-type]
    assert f"server_uri = {uri}\n" in text


def test_without_a_token_the_agent_is_known_by_its_address() -> None:
    read = sections(pjsip_snippet(agent_host="10.0.0.9", agent_port=5066, token=None))
    assert read[0][1]["identify_by"] == "ip"
    assert read[1][1]["match"] == "10.0.0.9"
    with pytest.raises(SnippetError, match="must be an address"):
        pjsip_snippet(agent_host="agent.voice.svc", agent_port=5066, token=None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token": "short"}, "8 to 256"),
        ({"token": "with;a;comment"}, "8 to 256"),
        ({"token": "/regular.*/"}, "8 to 256"),
        ({"previous_token": "two\nlines-of-text"}, "8 to 256"),
        ({"agent_host": "a b"}, "neither an address nor a host name"),
        ({"agent_host": "[::1]"}, "neither an address nor a host name"),
        ({"agent_port": 0}, "1 to 65535"),
        ({"expiration": 5}, "10 or more"),
        ({"device_filter": "^PJSIP;x"}, "';' or a line break"),
        ({"endpoint_name": "a]\n[b"}, "section name"),
    ],
)
def test_a_value_that_the_file_cannot_hold_is_told_and_no_token_is_shown(change: dict[str, object], told: str) -> None:
    options: dict[str, object] = {"agent_host": "10.0.0.9", "agent_port": 5066, "token": TOKEN}
    with pytest.raises(SnippetError, match=told) as raised:
        pjsip_snippet(**{**options, **change})  # type: ignore[arg-type]
    for name in ("token", "previous_token"):
        assert str(change.get(name, "no such")) not in str(raised.value)


def test_the_identifier_order_puts_header_first() -> None:
    assert identifier_order_line() == "endpoint_identifier_order = header,ip,username,anonymous"
    assert identifier_order_line() in pjsip_snippet(agent_host="10.0.0.9", agent_port=5066, token=TOKEN)
