"""``eventfed agent``: an agent in the foreground. Imports nothing that an idle agent does not need."""

import asyncio
from pathlib import Path

from eventfed_agent.configuration import load_configuration
from eventfed_agent.process.run import run_agent

from ._logging import set_up_logging

__all__ = ["run"]


def run(file: Path) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: when the file cannot be used.
        TransportFailed: when an address cannot be bound.
    """
    section = load_configuration(file).agent
    set_up_logging(section.log_level, section.log_format)
    asyncio.run(run_agent(file))
