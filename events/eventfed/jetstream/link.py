"""The connection of a client to NATS, which is made again after each loss, and what is wrong with it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import nats.errors

from ..core.bus import BusListener
from ..core.settings import Credentials, CredentialsSource, FederationSettings
from ..core.troubles import Trouble
from ..model.errors import EventfedError
from ..pace import Backoff, until_due
from ..tasks import end_if_cancelled
from .connection import Client, ConnectionLost, explain, open_connection

__all__ = ["Link"]

Session: TypeAlias = Callable[[Client, asyncio.TaskGroup], Awaitable[None]]


class Link:
    """Connects, and runs one session after the other.

    Args:
        name: how NATS shows us.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        settings: FederationSettings,
        credentials: Credentials | CredentialsSource | None,
    ) -> None:
        self.client: Client | None = None
        """The connection that stands, if any."""
        self._servers = list(servers)
        self._name = name
        self._settings = settings
        self._credentials = credentials
        self._backoff = Backoff(settings.reconnect_pause, settings.reconnect_pause_limit)

    def was_of_use(self) -> None:
        """The connection has done its work. A server that lets us in and closes at once has not."""
        self._backoff.succeeded(asyncio.get_running_loop().time())

    async def run(self, listener: BusListener, session: Session) -> None:
        """Connect until cancelled.

        Args:
            listener: told when connections come and go, and what is wrong.
            session: what a session consists of, in tasks of the group; called with each new connection.
        """
        clock = asyncio.get_running_loop().time
        while True:
            connected = False
            try:
                async with open_connection(
                    self._servers,
                    name=self._name,
                    settings=self._settings,
                    credentials=await self._read_credentials(),
                    on_problem=functools.partial(listener.trouble, Trouble.PERMISSION),
                ) as (client, ended):
                    connected = True
                    await self._serve(client, ended, listener, session)
            except ConnectionLost as error:
                listener.trouble(Trouble.CONNECTION, str(error))
            finally:
                self.client = None
            end_if_cancelled()
            if connected:
                listener.session_ended()
            else:
                listener.connect_failed()
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

    async def _serve(self, client: Client, ended: asyncio.Future[str], listener: BusListener, session: Session) -> None:
        """One connection, from its beginning to its end."""
        self.client = client
        listener.session_began()
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await session(client, group)
                except (nats.errors.Error, OSError) as error:  # lost again before it was used
                    raise ConnectionLost(explain(error)) from None
                raise ConnectionLost(await ended)
        except* ConnectionLost as lost:
            reason = str(lost.exceptions[0])
        raise ConnectionLost(reason)
