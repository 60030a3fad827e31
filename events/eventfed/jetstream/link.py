"""The connection of a client to NATS: made again for ever, and what is wrong with it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

import nats.errors

from ..core.counters import FederationCounters
from ..core.settings import Credentials, CredentialsSource, FederationSettings
from ..core.troubles import Trouble
from ..model.errors import EventfedError
from ..pace import Backoff, until_due
from .connection import Client, ConnectionLost, explain, open_connection

__all__ = ["Link"]


class Link:
    """Connects, and runs one session after the other.

    Args:
        name: how NATS shows us.
        note: told what is wrong; whoever reads says when it is well again.
        session: what a session consists of, in tasks of the group; called with each new connection.
        ended: called when a session is over.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        settings: FederationSettings,
        credentials: Credentials | CredentialsSource | None,
        counters: FederationCounters,
        note: Callable[[Trouble, str], None],
        session: Callable[[Client, asyncio.TaskGroup], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        self.client: Client | None = None
        """The connection that stands, if any."""
        self._servers = list(servers)
        self._name = name
        self._settings = settings
        self._credentials = credentials
        self._counters = counters
        self._note = note
        self._session_began = session
        self._session_ended = ended
        self._backoff = Backoff(settings.reconnect_pause, settings.reconnect_pause_limit)

    def was_of_use(self) -> None:
        """The connection has done its work. A server that lets us in and closes at once has not."""
        self._backoff.succeeded(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Connect until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            connected = False
            try:
                async with open_connection(
                    self._servers,
                    name=self._name,
                    settings=self._settings,
                    credentials=await self._read_credentials(),
                    on_problem=functools.partial(self._note, Trouble.PERMISSION),
                ) as (client, ended):
                    connected = True
                    await self._session(client, ended)
            except ConnectionLost as error:
                self._note(Trouble.CONNECTION, str(error))
            finally:
                self.client = None
            if connected:
                self._session_ended()
            else:
                self._counters.connect_failures += 1
            self._backoff.failed(clock())
            await until_due(self._backoff)

    async def _read_credentials(self) -> Credentials | None:
        """As they are now: what was replaced since the last attempt counts."""
        if not callable(self._credentials):
            return self._credentials
        try:
            return await asyncio.to_thread(self._credentials)
        except EventfedError as error:
            raise ConnectionLost(f"no connection to NATS: {error}") from None

    async def _session(self, client: Client, ended: asyncio.Future[str]) -> None:
        """One connection, from its beginning to its end."""
        self._counters.sessions += 1
        self.client = client
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._session_began(client, group)
                except (nats.errors.Error, OSError) as error:  # lost again before it was used
                    raise ConnectionLost(explain(error)) from None
                raise ConnectionLost(await ended)
        except* ConnectionLost as lost:
            reason = str(lost.exceptions[0])
        raise ConnectionLost(reason)
