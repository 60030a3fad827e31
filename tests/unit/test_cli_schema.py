"""The JSON Schema of an agent's file says what the agent takes and refuses; shells complete the commands."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from eventfed_cli._app import app
from eventfed_cli._schema import agent_file_schema

EXAMPLE = Path(__file__).parents[2] / "examples/agent.toml"


@pytest.fixture
def checker() -> jsonschema.Draft202012Validator:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert schema == agent_file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_example_is_valid_by_it(checker: jsonschema.Draft202012Validator) -> None:
    assert [error.message for error in checker.iter_errors(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        '[agent]\nlogLevel = "info"',
        "[agent]\nlanes = 64",
        "[nats]\nservers = []",
        '[[members]]\nname = "a"\nhost = "10.0.0.1"\nport = "5060"',
        "[other]",
    ],
)
def test_what_the_agent_refuses_it_refuses(wrong: str, checker: jsonschema.Draft202012Validator) -> None:
    least = {
        "federation": {"name": "pbx"},
        "nats": {"servers": ["nats://127.0.0.1:4222"]},
        "events": [{"type": "device_state"}],
    }
    assert checker.is_valid(least)
    assert not checker.is_valid(least | tomllib.loads(wrong))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = CliRunner().invoke(app, ["--show-completion", shell], prog_name="eventfed")
    assert done.exit_code == 0, done.output
    assert "_EVENTFED_COMPLETE" in done.stdout
