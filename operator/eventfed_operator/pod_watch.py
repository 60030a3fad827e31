"""The pods that one selector selects, kept up to date by a watch of the API server's own filtering."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from eventfed.pace import Backoff, until_due

from .kubernetes_api import ApiError, Document, KubernetesApi, WatchEvent, WatchExpired

__all__ = ["PodWatch", "Pods"]

_log = logging.getLogger("eventfed.operator")
_RELIST = 300.0
_FLOOR, _LIMIT = 1.0, 15.0


class Pods:
    """The pods as last heard of, by UID."""

    def __init__(self) -> None:
        self._pods: dict[str, Document] = {}

    @property
    def by_uid(self) -> Mapping[str, Document]:
        return MappingProxyType(self._pods)

    def listed(self, items: "list[Document]") -> bool:
        """What there is now; returns whether it is something else than before."""
        present = {one["metadata"]["uid"]: one for one in items}
        changed = present != self._pods
        self._pods = present
        return changed

    def heard(self, event: WatchEvent) -> bool:
        """One change; returns whether it was one."""
        if event.type == "BOOKMARK":
            return False
        uid = event.object["metadata"]["uid"]
        if event.type == "DELETED":
            return self._pods.pop(uid, None) is not None
        changed = self._pods.get(uid) != event.object
        self._pods[uid] = event.object
        return changed


class PodWatch:
    """Lists, watches, and lists again every five minutes, so that a change which was missed is found in any context.

    Args:
        on_change: called after each change, and once the first list is there.
    """

    def __init__(self, api: KubernetesApi, namespace: str, selector: str, on_change: Callable[[], None]) -> None:
        self._api = api
        self._namespace = namespace
        self._on_change = on_change
        self._pods = Pods()
        self._restart = asyncio.Event()
        self.selector = selector
        self.listed = False
        """Whether the pods are known at all; nothing may be concluded from an empty set before."""
        self.failures = 0

    @property
    def pods(self) -> Mapping[str, Document]:
        return self._pods.by_uid

    def select(self, selector: str) -> None:
        """Watch these labels from now on."""
        if selector != self.selector:
            self.selector, self.listed = selector, False
            self._restart.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        backoff = Backoff(_FLOOR, _LIMIT)
        clock = asyncio.get_running_loop().time
        while True:
            self._restart.clear()
            backoff.succeeded(clock())
            try:
                async with asyncio.TaskGroup() as group:
                    following = group.create_task(self._follow())
                    restarting = group.create_task(self._restart.wait())
                    await asyncio.wait((following, restarting), return_when=asyncio.FIRST_COMPLETED)
                    following.cancel()
                    restarting.cancel()
            except* WatchExpired:
                backoff.failed(clock())
            except* ApiError as several:
                self.failures += 1
                error = several.exceptions[0]
                _log.warning("pods of %s (%s): %s", self._namespace, self.selector, error)
                backoff.failed(clock(), at_least=error.retry_after if isinstance(error, ApiError) else 0.0)
            await until_due(backoff)

    async def _follow(self) -> None:
        """One list, and what changes for five minutes."""
        selector = self.selector
        listing = await self._api.list("Pod", self._namespace, selector=selector)
        if selector != self.selector:
            return
        changed = self._pods.listed(list(listing.items)) or not self.listed
        self.listed = True
        if changed:
            self._on_change()
        version = listing.version
        clock = asyncio.get_running_loop().time
        until, watches = clock() + _RELIST, Backoff(_FLOOR, _LIMIT)
        while (left := until - clock()) > 1:
            # A watch that ends at once, and again, must not become a busy loop; counted from its beginning, since one
            # that lasted is to be followed by the next one at once.
            watches.rest(clock())
            watch = self._api.watch("Pod", self._namespace, selector=selector, version=version, seconds=left)
            async for event in watch:
                version = event.object["metadata"]["resourceVersion"]
                if self._pods.heard(event):
                    self._on_change()
            await until_due(watches)
