"""The agent's file: the least that works, and what each mistake is answered with."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from eventfed import EID
from eventfed_agent.configuration import (
    ConfigurationError,
    load_configuration,
    parse_configuration,
    read_secret,
    split_address,
)

LEAST = """
events = [{ type = "device_state" }]
[federation]
name = "pbx"
[nats]
servers = ["nats://127.0.0.1:4222"]
"""
MEMBER = """
[[members]]
name = "a"
host = "10.0.0.1"
"""


def test_the_least_that_works() -> None:
    configuration = parse_configuration(LEAST, "agent.toml")
    assert configuration.federation.site == "local"
    assert configuration.agent.listen == ("0.0.0.0:5066",)
    assert configuration.nats.create_stream
    assert configuration.departure.grace_period == 30
    assert configuration.timing.lease_ttl == 30


def test_members_have_addresses() -> None:
    text = LEAST + MEMBER + '[[members]]\nname = "b"\nhost = "FD00::0:1"\nport = 5080\ntransport = "tcp"\nuid = "u"\n'
    a, b = parse_configuration(text, "agent.toml").members
    assert (a.address, a.identity) == ("udp:10.0.0.1:5060", "udp:10.0.0.1:5060")
    assert (b.address, b.identity) == ("tcp:[fd00::1]:5080", "u")


def test_an_eid_may_be_written_in_either_case() -> None:
    (member,) = parse_configuration(LEAST + MEMBER + 'eid = "02:00:00:00:00:0A"\n', "agent.toml").members
    assert member.eid == str(EID.parse("02:00:00:00:00:0a"))


WRONG = {
    "no TOML": ("[federation", "no TOML: Expected"),
    "nested without end": ("a = " + "[" * 100_000, "no TOML"),
    "no federation": (
        LEAST.replace('[federation]\nname = "pbx"', ""),
        r"federation: is missing: write a section \[federation\] with name",
    ),
    "no nats": (
        LEAST.replace('[nats]\nservers = ["nats://127.0.0.1:4222"]', ""),
        r"nats: is missing: write a section \[nats\] with servers",
    ),
    "no events": (
        LEAST.replace('events = [{ type = "device_state" }]', ""),
        r"events: is missing: write \[\[events\]\] sections, each with type",
    ),
    "events twice": (
        LEAST.replace("}]", '}, { type = "device_state" }]'),
        "events: .*device_state is listed twice: merge the two entries",
    ),
    "mwi without storage": (LEAST.replace("device_state", "mwi"), r"events\.0: .*mwi needs voicemail_storage"),
    "a wrong pattern": (
        LEAST.replace("}]", ', exclude = ["("] }]'),
        r"events\.0\.exclude\.0: .*'\(' is no regular expression",
    ),
    "a federation with a dot": (LEAST.replace('"pbx"', '"voice.pbx"'), r"federation\.name: write 1 to 128 letters"),
    "a field nobody knows": (LEAST + "[agents]\n", r"agents: there is no such field: write agent"),
    "no server": (LEAST.replace('"nats://127.0.0.1:4222"', ""), r"nats\.servers: write a list of at least 1 entry"),
    "a server without scheme": (
        LEAST.replace("nats://", ""),
        r"nats\.servers: .*write nats://HOST:4222 or tls://HOST:4222",
    ),
    **{
        f"a server at {where}": (
            LEAST.replace("127.0.0.1:4222", where),
            r"nats\.servers: .*write nats://HOST:4222 or tls://HOST:4222",
        )
        for where in ("127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:port", ":4222", "[::1", "[zz]:4222")
    },
    "a password in a server": (LEAST.replace("nats://", "nats://me:secret@"), "without user or password"),
    "two ways in": (
        LEAST + 'token_file = "/run/t"\ncredentials_file = "/run/c"\n',
        "use one of user, token_file, credentials_file and nkey_seed_file",
    ),
    "a user without password": (LEAST + 'user = "agent"\n', "user and password_file belong together"),
    "a certificate without key": (
        LEAST + 'certificate_file = "/run/c"\n',
        "certificate_file and key_file belong together",
    ),
    "too many replicas": (LEAST + "replicas = 7\n", r"nats\.replicas: write a whole number from 1 to 5"),
    "listen without port": (
        LEAST + '[agent]\nlisten = ["0.0.0.0"]\n',
        r"agent\.listen\.0: .*write ADDRESS:PORT, such as 10\.0\.0\.1:5066 or \[fd00::1\]:5066",
    ),
    "listen nowhere": (LEAST + "[agent]\nlisten = []\n", r"agent\.listen: write a list of at least 1 entry"),
    "too many lanes": (LEAST + "[agent]\nlanes = 64\n", r"agent\.lanes: write a whole number from 1 to 16"),
    "a member by name": (
        LEAST + MEMBER.replace("10.0.0.1", "pbx-a.example"),
        r"members\.0\.host: .*'pbx-a.example' is no IP address",
    ),
    "a member with a wrong EID": (
        LEAST + MEMBER + 'eid = "zzz"\n',
        r"members\.0\.eid: .*'zzz' is no EID: write six bytes as 02:00:00:00:00:0a",
    ),
    **{
        f"a member at {host}": (
            LEAST + MEMBER.replace("10.0.0.1", host),
            r"members\.0\.host: .*is no address of one server: write the address that it sends from",
        )
        for host in ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255")
    },
    "a member without an entityid": (
        LEAST + MEMBER + 'eid = "00:00:00:00:00:00"\n',
        r"members\.0\.eid: 00:00:00:00:00:00 is what a server without an entityid has",
    ),
    "a name that cannot be shown": (
        LEAST + MEMBER.replace('"a"', '"a\\u001b[2J"'),
        r"members\.0\.name: .*holds a character that cannot be shown",
    ),
    "a port in quotes": (
        LEAST + MEMBER + 'port = "5060"\n',
        r"members\.0\.port: write a whole number from 1 to 65535",
    ),
    "a switch in quotes": (LEAST + 'create_stream = "yes"\n', r"nats\.create_stream: write true or false"),
    "seconds in quotes": (LEAST + '[timing]\nsweep = "60"\n', r"timing\.sweep: write a number"),
    "the writing of a manifest": (
        LEAST + '[agent]\nlogLevel = "info"\n',
        r"agent\.logLevel: this is the writing of an EventFederation: write log_level",
    ),
    "the writing of a manifest in a list": (
        LEAST.replace("device_state", "mwi").replace("}]", ', voicemailStorage = "Separate" }]'),
        r"events\.0\.voicemailStorage: .*write voicemail_storage",
    ),
    "a port that is not valid": (
        LEAST + MEMBER + "port = 70000\n",
        r"members\.0\.port: write a whole number from 1 to 65535",
    ),
    "a transport nobody speaks": (
        LEAST + MEMBER + 'transport = "sctp"\n',
        r"members\.0\.transport: write \"udp\" or \"tcp\"",
    ),
    "two of one name": (
        LEAST + MEMBER + MEMBER.replace("10.0.0.1", "10.0.0.2"),
        "two members are named 'a': give each a name of its own",
    ),
    "two of one address": (
        LEAST + MEMBER + MEMBER.replace('"a"', '"b"'),
        "two members have the address udp:10.0.0.1:5060: remove one",
    ),
    "two on one host without EID": (
        LEAST + MEMBER + MEMBER.replace('"a"', '"b"') + "port = 5080\n",
        "member 'a' shares its host with another: give both their eid",
    ),
    "two of one EID": (
        LEAST
        + MEMBER
        + 'eid = "02:00:00:00:00:0a"\n'
        + MEMBER.replace('"a"', '"b"').replace("10.0.0.1", "10.0.0.2")
        + 'eid = "02:00:00:00:00:0A"\n',
        "two members have the EID 02:00:00:00:00:0a: each server needs an entityid of its own",
    ),
    "a grace of nothing": (
        LEAST + "[departure]\ngrace_period = 0\n",
        r"departure\.grace_period: write a number from 1 to 86400",
    ),
    "a keep-alive of nothing": (LEAST + "[timing]\nkeep_alive = 0\n", r"timing\.keep_alive: write a number above 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_says_where_and_what_to_change(name: str) -> None:
    text, message = WRONG[name]
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_configuration(text, "agent.toml")
    assert str(caught.value).startswith("agent.toml: ")
    assert "secret" not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"members\.0\.host: .*; members\.0\.port: "):
        parse_configuration(LEAST + MEMBER.replace("10.0.0.1", "x") + "port = 0\n", "agent.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:5066", ("10.0.0.1", 5066)),
        ("[fd00::1]:5066", ("fd00::1", 5066)),
        ("[FD00:0::1]:0", ("fd00::1", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_an_address_is_literal(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "5066",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:65536",
        "10.0.0.1:-1",
        "10.0.0.1:+1",
        "10.0.0.1:\u0665",
        "fd00::1:5066",
        "[fd00::1]",
        "[fd00::1",
        "localhost:5066",
        "[10.0.0.1:5066",
        " 10.0.0.1:5066",
        "10.0.0.1:1\n",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="write ADDRESS:PORT"):
        split_address(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: there is no such file$"):
        load_configuration(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationError, match=r"this is a directory: name the file in it$"):
        load_configuration(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# one\n# \xe4")
    with pytest.raises(ConfigurationError, match=r"latin\.toml: line 2 is not UTF-8: save the file in UTF-8$"):
        load_configuration(tmp_path / "latin.toml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\xef\xbb\xbf" + LEAST.encode())
    assert load_configuration(tmp_path / "agent.toml").federation.name == "pbx"
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfhush-hush\n")
    assert read_secret(tmp_path / "token") == SecretStr("hush-hush")


def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  hush-hush \nmore\n")
    secret = read_secret(file)
    assert secret == SecretStr("hush-hush")
    assert "hush" not in repr(secret)
    assert read_secret(None) is None


@pytest.mark.parametrize("content", ["", "\n", "  \nsecond"])
def test_an_empty_secret_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="the first line must hold the secret"):
        read_secret(file)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_secret(tmp_path / "none")
