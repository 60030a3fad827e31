"""What kopf is used for: it watches, and tells. It handles nothing, so it puts nothing of its own into any object."""

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Collection, Mapping
from typing import Any, Protocol, cast

import kopf

from eventfed.pace import Backoff

from .api_pace import ApiPace
from .crd.resource import GROUP, PLURAL, VERSION
from .kopf_login import Login, Pauses
from .resources import FIELD_MANAGER

__all__ = ["Listener", "kopf_registry", "kopf_settings", "watch"]

_log = logging.getLogger("eventfed.operator")
_FLOOR, _LIMIT = 1.0, 5.0
_END = 3.0
_OURS = f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
_OWNED = (("apps", "v1", "daemonsets"), ("", "v1", "services"))
"""What is watched beside EventFederations and pods: what changes by itself. Drift of the rest is found at the resync,
and so the operator needs no right to list Secrets."""


_IDENTITY = cast("Any", FIELD_MANAGER)
"""Who we are among kopf's peers, of which there are none."""


class Listener(Protocol):
    """Who is told; see `Manager`."""

    def heard(self, manifest: Mapping[str, Any], *, gone: bool) -> None: ...

    def concerns(self, namespace: str, name: str) -> None: ...


def kopf_registry(listener: Listener, login: Login) -> kopf.OperatorRegistry:
    """The handlers: low-level ones only, which need neither finalizers nor annotations."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, backoff=_FLOOR)(login.log_in)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def federation_changed(event: Mapping[str, Any], **_: Any) -> None:
        listener.heard(event["object"], gone=event["type"] == "DELETED")

    async def owned_changed(event: Mapping[str, Any], **_: Any) -> None:
        metadata = event["object"]["metadata"]
        name = (metadata.get("labels") or {}).get(f"{GROUP}/federation")
        if name:
            listener.concerns(metadata["namespace"], name)

    for group, version, plural in _OWNED:
        kopf.on.event(group, version, plural, registry=registry)(owned_changed)
    return registry


class _Relay:
    """Tells a listener in its own event loop what kopf says in another thread."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()

    def heard(self, manifest: Mapping[str, Any], *, gone: bool) -> None:
        self._loop.call_soon_threadsafe(functools.partial(self._listener.heard, manifest, gone=gone))

    def concerns(self, namespace: str, name: str) -> None:
        self._loop.call_soon_threadsafe(self._listener.concerns, namespace, name)


async def watch(listener: Listener, namespaces: Collection[str], *, stop: asyncio.Event) -> None:
    """Tell `listener` of what happens, until `stop` is set.

    kopf has a thread and an event loop to itself: in its end it cancels every task that began after itself. What ends
    it is logged in one line, and it is begun again after a pause.

    Args:
        namespaces: which ones are watched; empty: all.
    """
    clock, backoff, pace = asyncio.get_running_loop().time, Backoff(_FLOOR, _LIMIT), ApiPace()
    while not stop.is_set():
        backoff.succeeded(clock())
        reason = await _watch_once(_Relay(listener), namespaces, stop, pace)
        if not stop.is_set():
            pause = backoff.failed(clock())
            _log.warning("the watches ended, and begin again in %.0f s: %s", pause, reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()


async def _watch_once(listener: Listener, namespaces: Collection[str], stop: asyncio.Event, pace: ApiPace) -> str:
    """Run kopf until `stop` is set or it ends by itself; the result says why it did."""
    kopf_ = _Kopf(listener, namespaces, pace)
    running = asyncio.get_running_loop().run_in_executor(None, kopf_.run)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        kopf_.stop()
        # A thread cannot be cancelled; it ends since kopf was told to.
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((running,))
    return running.result()


class _Kopf:
    """kopf, in a thread with an event loop of its own.

    It is stopped by an event of that loop: any other kind would keep a thread of kopf's waiting, and so kopf from
    ending by itself.
    """

    def __init__(self, listener: Listener, namespaces: Collection[str], pace: ApiPace) -> None:
        self._listener = listener
        self._namespaces = namespaces
        self._pace = pace
        self._lock = threading.Lock()
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Have it end; called in any thread."""
        with self._lock:
            self._stopped = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)

    def run(self) -> str:
        """Until it ends; the result says why it did."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(_tell_in_one_line)
        try:
            loop.run_until_complete(self._operate())
        except Exception as error:  # kopf's own kinds, aiohttp's, those of what comes over the wire
            return f"{type(error).__name__}: {error}"[:500]
        finally:
            loop.close()
        return "without a reason"

    async def _operate(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._loop = asyncio.get_running_loop()
        login = Login(ApiPace(self._pace))
        try:
            tasks = await kopf.spawn_tasks(
                registry=kopf_registry(self._listener, login),
                settings=kopf_settings(),
                # Else kopf asks for the name of the user that we run as, and a container's may have none.
                identity=_IDENTITY,
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=self._stop,
            )
            # kopf would wait for all others of its tasks, some of which outlast an error of the API server.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            with self._lock:
                self._loop = None
            # Closed under its tasks, they would each tell that it was.
            await _cancel_all(_END)
            await login.close()
        for task in done:
            task.result()


async def _cancel_all(within: float) -> None:
    """Cancel every other task of the loop, for `within` seconds; again and again, since some of kopf's go on once."""
    clock = asyncio.get_running_loop().time
    end = clock() + within
    while (rest := asyncio.all_tasks() - {asyncio.current_task()}) and clock() < end:
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=0.2)


def _tell_in_one_line(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What kopf's tasks failed with and nobody asked for: the reason of its end is told already."""
    _log.debug("kopf: %s (%r)", context.get("message"), context.get("exception"))


def kopf_settings() -> kopf.OperatorSettings:
    """How kopf watches: filtered by the server, and with limits on every silence."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = _FLOOR
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = Pauses()
    settings.process.ultimate_exiting_timeout = None
    for group, version, plural in _OWNED:
        settings.watching.label_selectors[group, version, plural] = _OURS
    return settings
