"""One reconciler for each EventFederation, and a look at all of them at intervals."""

import asyncio
import logging
import random

from eventfed import Credentials, EventfedError
from eventfed.pace import Backoff, until_due

from .crd.resource import KIND
from .health import Health
from .installation import Installation, Renew, as_before
from .kubernetes_api import Document, KubernetesApi
from .reconciler import OpenBus, Reconciler, ReconcilerCounters
from .resources import Settings

__all__ = ["Manager"]

_log = logging.getLogger("eventfed.operator")
_FLOOR, _LIMIT = 1.0, 60.0


class Manager:
    """Starts a reconciler for each EventFederation that it hears of, and wakes it when something concerns it.

    Args:
        namespaces: which ones are served; empty: all.
        chart_nats: how the operator logs in to the chart's NATS.
        renew: gives both as they are now.
        resync: how often everything is looked at although nothing happened, in seconds.
    """

    def __init__(
        self,
        api: KubernetesApi,
        *,
        settings: Settings,
        namespaces: tuple[str, ...],
        chart_nats: Credentials | None,
        renew: Renew = as_before,
        open_bus: OpenBus,
        resync: float,
        health: Health,
    ) -> None:
        self.counters = ReconcilerCounters()
        self.health = health
        self.reconcilers: dict[tuple[str, str], Reconciler] = {}
        self._api = api
        self._settings = settings
        self._namespaces = namespaces
        self._chart_nats = chart_nats
        self._renew = renew
        self._open_bus = open_bus
        self._resync = resync
        self._heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._waiting: set[tuple[str, str]] = set()
        self._failures: dict[tuple[str, str], Backoff] = {}

    def heard(self, manifest: Document, *, gone: bool) -> None:
        """The watch told of an EventFederation."""
        metadata = manifest["metadata"]
        if gone:
            self.health.watches.gone(metadata["uid"])
        else:
            self.health.watches.heard(metadata["uid"], metadata["resourceVersion"])
        self.concerns(metadata["namespace"], metadata["name"])

    def concerns(self, namespace: str, name: str) -> None:
        """Something happened that may concern an EventFederation."""
        reconciler = self.reconcilers.get((namespace, name))
        if reconciler is not None:
            reconciler.wake()
        elif (namespace, name) not in self._waiting:
            self._waiting.add((namespace, name))
            self._heard.put_nowait((namespace, name))

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._audit_repeatedly())
            while True:
                key = await self._heard.get()
                self._waiting.discard(key)
                if key not in self.reconcilers:
                    group.create_task(self._run_reconciler(*key), name=f"{key[0]}/{key[1]}")

    async def _run_reconciler(self, namespace: str, name: str) -> None:
        reconciler = Reconciler(
            self._api,
            namespace,
            name,
            installation=Installation(self._settings, self._chart_nats, self._renew),
            open_bus=self._open_bus,
            resync=self._resync,
            counters=self.counters,
        )
        self.reconcilers[namespace, name] = reconciler
        backoff = self._failures.setdefault((namespace, name), Backoff(_FLOOR, _LIMIT))
        clock = asyncio.get_running_loop().time
        try:
            await until_due(backoff)
            backoff.succeeded(clock())
            await reconciler.run()
            del self._failures[namespace, name]
        except Exception:
            # A bug that one EventFederation brings to light must not stop the others; the next look starts it again.
            backoff.failed(clock())
            self.counters.failures += 1
            _log.exception("%s/%s: failed, and is started again", namespace, name)
        finally:
            del self.reconcilers[namespace, name]

    async def _audit_repeatedly(self) -> None:
        """What a watch has missed is found here."""
        while True:
            try:
                items = [
                    one
                    for namespace in self._namespaces or (None,)
                    for one in (await self._api.list(KIND, namespace)).items
                ]
            except EventfedError as error:
                _log.warning("EventFederations cannot be listed: %s", error)
            else:
                listed = {one["metadata"]["uid"]: one["metadata"]["resourceVersion"] for one in items}
                self.health.contact = True
                self.health.watches.compare(listed, asyncio.get_running_loop().time())
                for one in items:
                    key = one["metadata"]["namespace"], one["metadata"]["name"]
                    if key not in self.reconcilers:
                        self.concerns(*key)
            await asyncio.sleep(self._resync * random.uniform(1.0, 1.1))
