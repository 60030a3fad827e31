"""The operator as a process: logs, signals, the Lease, and everything that runs under it."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog

from eventfed import EventfedError

from ._kubernetes_client import open_kubernetes
from .election import Election
from .environment import OperatorConfiguration, read_environment
from .federation_bus import open_nats_bus
from .health import Health
from .installation import as_before
from .manager import Manager
from .operator_endpoints import serve_endpoints
from .operator_metrics import render_metrics
from .watch import watch

__all__ = ["main", "run_operator"]

_log = logging.getLogger("eventfed.operator")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_EXIT_MISCONFIGURED = 2
_EXIT_FAILED = 1


def main(environment: Mapping[str, str]) -> int:
    """Run the operator until SIGTERM; returns the exit status."""
    try:
        configuration = read_environment(environment)
    except EventfedError as error:
        print(error, file=sys.stderr)
        return _EXIT_MISCONFIGURED
    _set_up_logs(configuration.log_level)
    status = 0
    try:
        asyncio.run(run_operator(configuration))
    except* EventfedError as several:
        _log.error("%s", "; ".join(map(str, _leaves(several))))
        status = _EXIT_FAILED
    return status


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    return [leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, ExceptionGroup) else [one])]


async def run_operator(configuration: OperatorConfiguration) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        ApiError: there are no credentials for the API server.
        AddressInUse: the endpoints' address cannot be bound.
        ExceptionGroup: of `LeadershipLost`, when another operator may act by now.
    """
    stop, health = asyncio.Event(), Health()
    loop = asyncio.get_running_loop()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    async with open_kubernetes() as api, open_kubernetes(pooled=False) as lease_api:
        supervisor = Manager(
            api,
            settings=configuration.settings,
            namespaces=configuration.namespaces,
            chart_nats=configuration.nats,
            renew=configuration.passwords.renew if configuration.passwords is not None else as_before,
            open_bus=open_nats_bus,
            resync=configuration.resync,
            health=health,
        )
        async with serve_endpoints(health, lambda: render_metrics(supervisor, loop.time), configuration.http):
            if configuration.election is None:
                health.leading = True
                await _act(supervisor, configuration, stop)
                return
            election = Election(lease_api, configuration.election, health)
            if await _unless(stop, election.win()):
                try:
                    async with asyncio.TaskGroup() as group:
                        keeping = group.create_task(election.keep())
                        await _act(supervisor, configuration, stop)
                        keeping.cancel()
                finally:
                    await election.give_back()


async def _unless(stop: asyncio.Event, what: Coroutine[Any, Any, None]) -> bool:
    """Whether something came to its end before we are told to stop; else it is cancelled."""
    async with asyncio.TaskGroup() as group:
        doing, stopping = group.create_task(what), group.create_task(stop.wait())
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        doing.cancel()
        stopping.cancel()
    return not doing.cancelled()


async def _act(supervisor: Manager, configuration: OperatorConfiguration, stop: asyncio.Event) -> None:
    """Watch and keep until told to stop."""
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(supervisor.run())
        await watch(supervisor, configuration.namespaces, stop=stop)
        keeping.cancel()


class _KopfInOneLine(logging.Filter):
    """What ends a watch is told once, by us. kopf's tracebacks are of its own modules, and help nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "kopf" or record.name.startswith("kopf."):
            record.exc_info = record.exc_text = None
            return not record.getMessage().startswith("OS signals are ignored")
        return True


def _set_up_logs(level: str) -> None:
    """One JSON document a line on standard error, without the values of local variables: those may hold secrets."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.add_logger_name,
    ]
    last: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_KopfInOneLine())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=number, force=True)
    # Every event of every object is a line to kopf; and eventfed tells in plain words what nats-py tells.
    logging.getLogger("kopf").setLevel(max(number, logging.WARNING))
    logging.getLogger("nats").setLevel(logging.CRITICAL)
