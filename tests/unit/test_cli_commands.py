"""The command's own manners: help, exit codes, plain errors, and what needs no NATS."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from eventfed.model.device_kinds import DEFAULT_DEVICES
from eventfed_cli import _plugins
from eventfed_cli._app import app

CONFIGURATION = """
[federation]
name = "pbx"
[nats]
servers = ["nats://127.0.0.1:1"]
[agent]
listen = ["10.0.0.1:5066", "[fd00::1]:5067"]
token_file = "token"
[[members]]
name = "pbx-a"
host = "10.0.0.10"
[[members]]
name = "pbx-b"
host = "fd00::10"
transport = "tcp"
[[events]]
type = "mwi"
voicemail_storage = "Separate"
[[events]]
type = "device_state"
"""
TOKEN = "the-secret-of-the-test"
COMMANDS = [
    "agent",
    "validate",
    "schema",
    "members",
    "state list",
    "state get",
    "state watch",
    "publish device",
    "publish mailbox",
    "refresh",
    "mailbox forget",
    "asterisk-config",
    "doctor",
    "check",
    "demo",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``agent.toml`` and ``token``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENTFED_CONFIG", raising=False)
    (tmp_path / "agent.toml").write_text(CONFIGURATION)
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path


def run(command: str) -> Result:
    return CliRunner().invoke(app, shlex.split(command), prog_name="eventfed")


def examples(command: str) -> list[str]:
    """The examples in a command's help, without ``$ eventfed``."""
    return re.findall(r"^ *\$ eventfed (.*)$", run(f"{command} --help").stdout, re.M)


# --- help ---


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_and_its_exit_codes_in_its_help(command: str) -> None:
    result = run(f"{command} --help")
    assert result.exit_code == 0
    assert examples(command)
    assert all(example.startswith(command) for example in examples(command))
    assert "Exit codes: 0 ok, 1 found a problem, 2 usage or configuration, 3 NATS" in " ".join(result.stdout.split())


@pytest.mark.parametrize("command", ["validate", "asterisk-config"])
def test_the_examples_of_commands_that_need_no_nats_run(command: str, folder: Path) -> None:
    for example in examples(command):
        result = run(example)
        assert result.exit_code == 0, (example, result.output)
        assert result.stdout


def test_the_list_of_commands_is_complete() -> None:
    listed = re.findall(r"^  ([a-z-]+)  ", run("--help").stdout.partition("Commands:")[2], re.M)
    assert set(listed) == {command.split()[0] for command in COMMANDS}


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"eventfed \d+\.\d+\.\d+\S*\n", run("--version").stdout)


# --- usage ---


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("frobnicate", "No such command 'frobnicate'"),
        ("agent", "Missing option '--config'"),
        ("agent --config absent.toml", "absent.toml"),
        ("members", "give --federation, or --config"),
        ("members --federation pbx", "give --server, or --config"),
        ("members --federation 'a b' --server nats://127.0.0.1:1", "--federation: write 1 to 128 letters"),
        ("members --federation pbx --server 127.0.0.1", "--server: '127.0.0.1': write nats://HOST:4222"),
        ("members --config agent.toml --user joe", "--user and --password-file belong together"),
        ("members --config agent.toml --user joe --password-file absent", "absent"),
        ("state list --config agent.toml --name '['", "'[' is no regular expression"),
        ("state list --config agent.toml --eid 12", "'12' is no EID"),
        ("state list --config agent.toml --type cel", "Invalid value for '--type'"),
        (
            "publish device Custom:x NONSENSE --eid 02:00:00:00:00:99 --config agent.toml",
            "'NONSENSE' is no device state",
        ),
        ("publish device Custom:x INUSE --config agent.toml", "Missing option '--eid'"),
        ("publish mailbox 1001@default -- -1 0 --config agent.toml", "Invalid value for"),
        ("mailbox forget 1001@default --config agent.toml", "Missing option '--eid'"),
        ("mailbox forget 1001@default --eid 02:00 --config agent.toml", "02:00"),
        ("mailbox forget PJSIP/1001 --eid 02:00:00:00:00:0a --config agent.toml", "is a device: mailboxes are written"),
        ("asterisk-config", "give --agent ADDRESS:PORT, or --config with --member"),
        ("asterisk-config --agent pbx:5066", "--agent: 'pbx:5066': write ADDRESS:PORT"),
        ("asterisk-config --agent 10.0.0.1:5066 --token-file absent", "absent"),
        ("asterisk-config --agent 10.0.0.1:5066 --expiration 5", "expiration is 5 s: use 10 or more"),
        ("asterisk-config --config agent.toml", "name one of its members with --member (it has pbx-a, pbx-b)"),
        ("asterisk-config --config agent.toml --member c", "name one of its members with --member"),
        ("asterisk-config --config agent.toml --member pbx-a --token-file token", "leave these options out"),
        ("doctor --config absent.toml", "absent.toml"),
        ("validate absent.toml", "absent.toml"),
        ("demo --kind imaginary", "Invalid value for '--kind'"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_what_to_change(command: str, says: str, folder: Path) -> None:
    result = run(command)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not result.stdout


@pytest.mark.parametrize(
    "command",
    [
        "members",
        "state list --json",
        "state get PJSIP/1001",
        "state watch --json",
        "publish device Custom:x INUSE --eid 02:00:00:00:00:99",
        "publish device Custom:x INUSE --eid 02:00:00:00:00:99 --hold",
        "refresh",
        "mailbox forget 1001@default --eid 02:00:00:00:00:99",
    ],
)
def test_a_bus_that_is_not_there_exits_with_3(command: str, folder: Path) -> None:
    result = run(f"{command} --config agent.toml --timeout 1")
    assert result.exit_code == 3
    # On a busy machine the time may be over before the refusal has come.
    assert result.stderr.startswith(("eventfed: no connection to NATS", "eventfed: no answer from"))
    assert "nats://127.0.0.1:1" in result.stderr
    assert not result.stdout


def test_the_configuration_may_be_named_by_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTFED_CONFIG", "agent.toml")
    assert run("members --timeout 0.2").exit_code == 3


# --- validate ---


def test_a_good_file_is_called_ok_in_one_line(folder: Path) -> None:
    result = run("validate agent.toml")
    assert result.exit_code == 0
    assert result.stdout == "agent.toml: ok: federation pbx, 2 members, events mwi, device_state\n"


def test_each_mistake_has_a_line_with_its_place(folder: Path) -> None:
    text = CONFIGURATION.replace('"10.0.0.10"', '"pbx.example"').replace('"pbx"', '"p b x"') + "surplus = 1\n"
    (folder / "agent.toml").write_text(text)
    result = run("validate agent.toml")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["federation.name", "members.0.host", "events.1.surplus"]
    assert lines[1] == (
        "agent.toml: members.0.host: 'pbx.example' is no IP address: write one, such as 10.0.0.1; "
        "servers are told apart by it"
    )
    document = json.loads(run("validate agent.toml --json").stdout)
    assert (document["file"], document["valid"]) == ("agent.toml", False)
    assert [mistake["where"] for mistake in document["errors"]] == [line.split(": ")[1] for line in lines]
    assert document["errors"][1]["message"].startswith("'pbx.example' is no IP address")


def test_what_is_no_toml_is_said_to_be_none(folder: Path) -> None:
    (folder / "agent.toml").write_text("[federation")
    result = run("validate agent.toml")
    assert (result.exit_code, result.stdout.startswith("agent.toml: file: no TOML: ")) == (1, True)


def test_the_files_that_it_names_are_read_when_asked_for(folder: Path) -> None:
    assert json.loads(run("validate agent.toml --files --json").stdout) == {
        "file": "agent.toml",
        "valid": True,
        "errors": [],
    }
    (folder / "token").unlink()
    (folder / "agent.toml").write_text(
        CONFIGURATION.replace('host = "10.0.0.10"', 'host = "10.0.0.10"\netc = "absent"')
    )
    assert run("validate agent.toml").exit_code == 0
    result = run("validate agent.toml --files")
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == ["agent.token_file", "members.0.etc"]


# --- asterisk-config ---


def test_the_snippet_of_a_member_names_the_agents_address_of_its_family(folder: Path) -> None:
    of_a = run("asterisk-config --config agent.toml --member pbx-a").stdout
    assert "server_uri = sip:eventfed@10.0.0.1:5066\n" in of_a
    assert f"match_header = X-Eventfed-Token: {TOKEN}\n" in of_a
    of_b = run("asterisk-config --config agent.toml --member pbx-b").stdout
    assert "server_uri = sip:eventfed@[fd00::1]:5067\\;transport=tcp\n" in of_b


def test_the_snippet_by_options_is_that_of_the_file(folder: Path) -> None:
    by_file = run("asterisk-config --config agent.toml --member pbx-a").stdout
    assert run("asterisk-config --agent 10.0.0.1:5066 --token-file token").stdout == by_file
    moved = run("asterisk-config --config agent.toml --member pbx-a --agent 10.0.0.2:5070").stdout
    assert moved == by_file.replace("10.0.0.1:5066", "10.0.0.2:5070")


def test_the_snippet_lets_out_the_devices_that_include_names(folder: Path) -> None:
    """With the default filter nothing of ``SCCP/`` or ``Dongle/`` would leave the server, and nobody would notice."""
    default = run("asterisk-config --config agent.toml --member pbx-a").stdout
    assert f"@device_state_filter = {DEFAULT_DEVICES}\n" in default
    text = CONFIGURATION.replace('type = "device_state"', 'type = "device_state"\ninclude = ["^Dongle/"]')
    assert text != CONFIGURATION
    (folder / "agent.toml").write_text(text)
    by_file = run("asterisk-config --config agent.toml --member pbx-a").stdout
    assert by_file == default.replace(DEFAULT_DEVICES, ".")
    by_options = run("asterisk-config --agent 10.0.0.1:5066 --token-file token --include ^Dongle/ --include ^PJSIP/")
    assert by_options.stdout == by_file
    wrong = run(r"asterisk-config --agent 10.0.0.1:5066 --token-file token --include '^Dongle/\d'")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "write [0-9]" in wrong.stderr
    twice = run("asterisk-config --config agent.toml --member pbx-a --include ^Dongle/")
    assert (twice.exit_code, twice.stdout) == (2, "")


def test_an_agent_that_listens_everywhere_is_given_the_address_on_the_way_to_its_member(folder: Path) -> None:
    text = CONFIGURATION.replace('listen = ["10.0.0.1:5066", "[fd00::1]:5067"]', "")
    (folder / "agent.toml").write_text(text.replace("10.0.0.10", "127.0.0.10"))
    result = run("asterisk-config --config agent.toml --member pbx-a")
    assert "server_uri = sip:eventfed@127.0.0.1:5066\n" in result.stdout
    assert "taking 127.0.0.1, by which this machine reaches pbx-a" in result.stderr
    without = run("asterisk-config --config agent.toml --member pbx-b")
    assert (without.exit_code, without.stdout) == (2, "")
    assert "member pbx-b: no listen address reaches fd00::10: listen on an IPv6 address too" in without.stderr


def test_of_several_addresses_the_snippet_names_the_one_that_the_member_reaches(folder: Path) -> None:
    text = CONFIGURATION.replace('"10.0.0.1:5066", "[fd00::1]:5067"', '"198.51.100.1:5066", "127.0.0.3:5068"')
    (folder / "agent.toml").write_text(text.replace("10.0.0.10", "127.0.0.10"))
    result = run("asterisk-config --config agent.toml --member pbx-a")
    assert "server_uri = sip:eventfed@127.0.0.3:5068\n" in result.stdout
    assert "taking 127.0.0.3, by which this machine reaches pbx-a" in result.stderr
    # Where the agent runs on another machine nobody can tell.
    (folder / "agent.toml").write_text(text.replace("127.0.0.3:5068", "198.51.100.2:5066"))
    result = run("asterisk-config --config agent.toml --member pbx-a")
    assert "server_uri = sip:eventfed@198.51.100.1:5066\n" in result.stdout
    assert "no other machine than the agent's can tell" in result.stderr


@pytest.mark.parametrize(
    ("listen", "options", "wrong"),
    [
        ('["127.0.0.1:5066"]', "", {"members.0.host": "only loopback addresses", "members.1.host": "IPv6 address"}),
        ('["10.0.0.1:5066", "[::1]:5066"]', "", {"members.1.host": "only loopback addresses"}),
        ('["10.0.0.1:5066", "[fd00::1]:5066"]', "", {}),
        ('["0.0.0.0:5066", "[::]:5066"]', "", {}),
    ],
    ids=["loopback", "one family on loopback", "of another machine", "all"],
)
def test_validate_names_each_member_that_no_listen_address_reaches(
    folder: Path, listen: str, options: str, wrong: dict[str, str]
) -> None:
    (folder / "agent.toml").write_text(CONFIGURATION.replace('["10.0.0.1:5066", "[fd00::1]:5067"]', listen))
    result = run(f"validate agent.toml --json{options}")
    found = {error["where"]: error["message"] for error in json.loads(result.stdout)["errors"]}
    assert found.keys() == wrong.keys()
    assert all(words in found[where] for where, words in wrong.items())
    assert result.exit_code == bool(wrong)


# --- the agent as a process ---


def test_an_agent_that_cannot_bind_says_so_and_exits_with_2(folder: Path) -> None:
    result = run("agent --config agent.toml")  # 10.0.0.1 is not an address of this machine
    assert result.exit_code == 2
    assert "cannot listen on 10.0.0.1:5066" in result.stderr
    assert "Traceback" not in result.output


def test_an_agent_imports_nothing_of_the_lab_and_no_live_tables() -> None:
    code = "import sys, eventfed_cli._app, eventfed_cli._agent; print(*sys.modules)"
    environment = dict(os.environ)
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    imported = printed.stdout.split()
    assert "eventfed_agent.process" in imported
    assert not {name for name in imported if name.startswith(("eventfed_lab", "rich.live"))}


def test_without_the_lab_the_command_says_where_the_demo_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plugins, "entry_points", lambda group: [])
    result = run("demo --check")
    assert result.exit_code == 2
    assert "the demo comes with eventfed-lab" in result.stderr
    assert "demo " not in run("--help").stdout
