"""The agent as a process: signals, HTTP endpoints, and a configuration file that may change."""

import asyncio
import gc
import signal
from collections.abc import Callable
from pathlib import Path

from ..adapter import Tokens
from ..agent import Agent, AgentError
from ..configuration import AgentConfiguration, ConfigurationError, load_configuration, read_secret
from ..event_log import EventLog
from .adapters import ADAPTERS
from .endpoints import Readiness, serve_endpoints
from .handover import hand_over

__all__ = ["read_tokens", "run_agent"]

_LOOK_EVERY = 1.0
_COLLECT_EVERY = 20_000
"""New objects, less those freed, between two collections of the youngest generation."""


def read_tokens(configuration: AgentConfiguration) -> Tokens:
    """The header secrets of a configuration, the current one first.

    Raises:
        ConfigurationError: when a file cannot be read.
    """
    agent = configuration.agent
    values = (read_secret(agent.token_file), read_secret(agent.previous_token_file))
    return Tokens(tuple(value for value in values if value is not None))


async def run_agent(
    path: Path, *, event_log: EventLog | None = None, started: Callable[[Agent, str | None], None] | None = None
) -> None:
    """Run an agent from a file until SIGTERM or SIGINT; the file is read again when it changes.

    `started` is called once with the agent and the URL of its endpoints.

    Raises:
        ConfigurationError: when the file cannot be used at the start; later it is told and the old one stays.
        AgentError: when the address for HTTP cannot be bound.
        TransportFailed: when an address for SIP cannot be bound.
    """
    configuration = load_configuration(path)
    event_log = event_log or EventLog()
    # A process of many states that live long: with Python's own threshold a third of a replay goes into collections.
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with Agent(
            configuration, adapters=ADAPTERS, tokens=read_tokens(configuration), event_log=event_log
        ) as agent:
            readiness = Readiness(agent, configuration.timing.ready_after)
            if configuration.agent.http is None:
                if started is not None:
                    started(agent, None)
                await _until_stopped(agent, path, stop, event_log)
                return
            async with serve_endpoints(agent, readiness, configuration.agent.http) as url:
                event_log.info("agent_started", configuration.agent.name, http=url, members=len(configuration.members))
                if started is not None:
                    started(agent, url)
                await _until_stopped(agent, path, stop, event_log)
                readiness.stop()
                await hand_over(agent.members.values, agent.configuration.timing.handover)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _until_stopped(agent: Agent, path: Path, stop: asyncio.Event, event_log: EventLog) -> None:
    files = _files(agent.configuration, path)
    seen = [_stamp(file) for file in files]
    while not stop.is_set():
        try:
            async with asyncio.timeout(_LOOK_EVERY):
                await stop.wait()
        except TimeoutError:
            stamps = [_stamp(file) for file in files]
            if stamps == seen:
                continue
            seen = stamps
            try:
                configuration = load_configuration(path)
                if (now := _files(configuration, path)) != files:
                    files, seen = now, [stamps[0], *map(_stamp, now[1:])]
                agent.reconfigure(configuration, read_tokens(configuration))
            except (ConfigurationError, AgentError) as error:
                event_log.warn("configuration_refused", str(path), error=str(error))
            else:
                event_log.settled("configuration_refused", str(path))
                event_log.info("configuration_changed", str(path), members=len(agent.members))
    event_log.info("agent_stops", agent.configuration.agent.name)


def _files(configuration: AgentConfiguration, path: Path) -> list[Path]:
    """What is read again when it changes."""
    secrets = (configuration.agent.token_file, configuration.agent.previous_token_file)
    return [path, *(file for file in secrets if file is not None)]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
