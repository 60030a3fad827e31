"""``eventfed validate``: what is wrong with an agent's file, each thing on a line of its own."""

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from eventfed_agent.configuration import (
    AgentConfiguration,
    ConfigurationError,
    check_configuration,
    read_secret,
    read_text,
)
from eventfed_agent.nats_access import credentials
from eventfed_agent.pjsip.listening import unreached

from ._exits import Exit

__all__ = ["Mistake", "find_mistakes", "run"]


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: where (``members.0.host``), and what to change."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def run(file: Path, *, files: bool, as_json: bool) -> None:
    """Print what is wrong with a file; exit code 1 if anything is.

    Raises:
        ConfigurationError: when it cannot be read.
    """
    configuration, mistakes = find_mistakes(read_text(file), files=files)
    if as_json:
        document = {"file": str(file), "valid": not mistakes, "errors": [asdict(mistake) for mistake in mistakes]}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif configuration is not None and not mistakes:
        print(f"{file}: ok: {_summary(configuration)}")
    for mistake in mistakes if not as_json else ():
        print(f"{file}: {mistake}")
    if mistakes:
        raise typer.Exit(Exit.PROBLEM)


def find_mistakes(text: str, *, files: bool) -> tuple[AgentConfiguration | None, list[Mistake]]:
    """The configuration, if it is one, and all that is wrong; with `files` also of this machine's files and routes."""
    try:
        configuration, refused = check_configuration(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [Mistake("file", f"no TOML: {error}")]
    if configuration is None:
        return None, [Mistake(one.where or "file", one.message) for one in refused]
    mistakes = [Mistake(f"members.{number}.host", text) for number, text in unreached(configuration, here=files)]
    return configuration, mistakes + (_file_mistakes(configuration) if files else [])


def _file_mistakes(configuration: AgentConfiguration) -> list[Mistake]:
    mistakes = []
    agent = configuration.agent
    for where, path in (
        ("agent.token_file", agent.token_file),
        ("agent.previous_token_file", agent.previous_token_file),
    ):
        try:
            read_secret(path)
        except ConfigurationError as error:
            mistakes.append(Mistake(where, str(error)))
    try:
        credentials(configuration.nats)
    except ConfigurationError as error:
        mistakes.append(Mistake("nats", str(error)))
    for where, path in (
        ("nats.credentials_file", configuration.nats.credentials_file),
        ("nats.nkey_seed_file", configuration.nats.nkey_seed_file),
        *((f"members.{number}.etc", member.etc) for number, member in enumerate(configuration.members)),
    ):
        if path is not None and not path.exists():
            mistakes.append(Mistake(where, f"{path} does not exist"))
    return mistakes


def _summary(configuration: AgentConfiguration) -> str:
    """What the file is about, in one line."""
    count = len(configuration.members)
    node = configuration.roster_node
    members = f"members of the roster of {node}" if node else f"{count} member{'' if count == 1 else 's'}"
    return (
        f"federation {configuration.federation.name}, {members}, "
        f"events {', '.join(event.type for event in configuration.events)}"
    )
