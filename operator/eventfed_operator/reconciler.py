"""Keeps one EventFederation: observes, lets `reconcile` decide, carries out. It decides nothing itself."""

import asyncio
import base64
import logging
import random
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from eventfed import Credentials, EventfedError, StreamUnavailable, Subjects
from eventfed.pace import Backoff, until_due
from eventfed.wire.report import token_mark

from .actions import Apply, DeleteStream, EmitEvent, EnsureStream, PublishRoster, Requeue, WriteStatus
from .agent_configuration import referenced_secrets
from .bus_access import AccessFiles, BusAccess, BusAccessError, bus_access
from .conditions import NOT_YET
from .crd.resource import KIND
from .crd.status import EventFederationStatus
from .executor import ActionExecutor
from .federation_bus import FederationBus
from .installation import Installation, OwnChanges, Refusals
from .kubernetes_api import AddressTaken, ApiError, Document, KubernetesApi
from .pod_watch import PodWatch
from .reconcile import reconcile
from .resources import FINALIZER, InvalidResource, Resource, read_resource
from .snapshot import BusSnapshot, ObjectKey, Rival, Snapshot, Stream, read_agent, read_pod, read_rival
from .statuses import differs, invalid_status

__all__ = ["BusLink", "OpenBus", "Reconciler", "ReconcilerCounters", "Seen"]

_log = logging.getLogger("eventfed.operator")
_GATHER = 0.2
"""Changes of so many seconds are looked at together: pods come in crowds."""
_FLOOR, _LIMIT = 1.0, 60.0
_REFUSALS = frozenset({400, 403, 422})
_OBJECTS = ("ServiceAccount", "NetworkPolicy", "Secret", "Service", "DaemonSet")


class OpenBus(Protocol):
    """Opens the NATS of a federation; `federation_bus.open_nats_bus` outside of tests."""

    def __call__(
        self, subjects: Subjects, servers: tuple[str, ...], credentials: Credentials, *, on_change: Callable[[], None]
    ) -> AbstractAsyncContextManager[FederationBus]: ...


@dataclass(slots=True)
class ReconcilerCounters:
    """What happened so far, over all EventFederations."""

    rounds: int = 0
    failures: int = 0
    actions: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """What the last look at an EventFederation saw.

    Args:
        at: when one last came to its end, by the loop's clock.
        status: None before the first.
        stream: as NATS had it; None if it was not seen.
    """

    at: float
    status: EventFederationStatus | None = None
    stream: Stream | None = None


class BusLink:
    """The connection to one federation's NATS, made again when another one is wanted."""

    def __init__(self, open_bus: OpenBus, subjects: Subjects, on_change: Callable[[], None]) -> None:
        self._open_bus = open_bus
        self._subjects = subjects
        self._on_change = on_change
        self._wanted: BusAccess | None = None
        self._changed = asyncio.Event()
        self.bus: FederationBus | None = None
        self.problem: str | None = None

    def want(self, access: BusAccess | None) -> None:
        """From now on connect so; None: not at all."""
        if access != self._wanted:
            self._wanted = access
            self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._changed.clear()
            access = self._wanted
            if access is not None:
                try:
                    with AccessFiles(access) as credentials:
                        opened = self._open_bus(self._subjects, access.servers, credentials, on_change=self._on_change)
                        async with opened as self.bus:
                            self.problem = None
                            self._on_change()
                            await self._changed.wait()
                except BusAccessError as error:
                    self.problem = str(error)
                    self._on_change()
                finally:
                    self.bus = None
            await self._changed.wait()


class Reconciler:
    """One EventFederation, from the moment it is seen until it is gone.

    Args:
        installation: what the chart gives the operator; read again at each look.
        resync: how often to look although nothing happened, in seconds.
    """

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        name: str,
        *,
        installation: Installation,
        open_bus: OpenBus,
        resync: float,
        counters: ReconcilerCounters,
    ) -> None:
        self.namespace, self.name = namespace, name
        self._api = api
        self._installation = installation
        self._open_bus = open_bus
        self._resync = resync
        self._counters = counters
        self._wake = asyncio.Event()
        self._refusals = Refusals()
        self._since = datetime.now(UTC)
        self._problem = ""
        self._own_changes = OwnChanges()
        self.seen = Seen(_now())

    def wake(self) -> None:
        """Something changed: look again."""
        self._wake.set()

    async def run(self) -> None:
        """Until the EventFederation is gone."""
        backoff = Backoff(_FLOOR, _LIMIT)
        while True:
            self._wake.clear()
            try:
                manifest = await self._api.get(KIND, self.namespace, self.name)
                if manifest is None:
                    return
                try:
                    await self._reconcile_until_gone(read_resource(manifest))
                    # Gone, or another one of the name is there already.
                    await asyncio.sleep(backoff.rest(_now()))
                    continue
                except InvalidResource as error:
                    await self._refuse(str(error))
                self.seen.at = _now()
                await self._sleep(self._resync)
                await until_due(backoff)
                backoff.rest(_now())
            except EventfedError as error:
                self._failed(error)
                backoff.failed(_now(), at_least=_wish(error))
                await until_due(backoff, self._wake)

    async def _reconcile_until_gone(self, resource: Resource) -> None:
        """Until the EventFederation is gone, or cannot be read any more."""
        labels = ",".join(f"{name}={value}" for name, value in resource.selector.items())
        members = PodWatch(self._api, self.namespace, resource.spec.members.selector.expression, self.wake)
        agents = PodWatch(self._api, self.namespace, labels, self.wake)
        link = BusLink(self._open_bus, resource.subjects, self.wake)
        self._refusals.address = ""
        invalid: InvalidResource | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in (members, agents, link)]
            try:
                await self._reconcile_repeatedly(resource.uid, members, agents, link)
            except InvalidResource as error:
                invalid = error
            finally:
                for task in tasks:
                    task.cancel()
        if invalid is not None:
            raise invalid

    async def _reconcile_repeatedly(self, uid: str, members: PodWatch, agents: PodWatch, link: BusLink) -> None:
        backoff = Backoff(_FLOOR, _LIMIT)
        while True:
            self._wake.clear()
            try:
                after = await self._reconcile_once(uid, members, agents, link)
            except InvalidResource:
                raise
            except EventfedError as error:
                self._failed(error)
                backoff.failed(_now(), at_least=_wish(error))
                await until_due(backoff, self._wake)
                continue
            self.seen.at, self._problem = _now(), ""
            backoff.succeeded(_now())
            if after is None:
                return
            # Others who write the same objects wake us, and we them: that must not become a busy loop.
            await asyncio.sleep(min(_FLOOR, self._own_changes.pause * random.uniform(1.0, 1.5)))
            await self._sleep(after)

    async def _reconcile_once(self, uid: str, members: PodWatch, agents: PodWatch, link: BusLink) -> float | None:
        """Observe, reconcile, carry out. The result is when to look again at the latest; None if it is gone.

        One that was deleted and made again is another one: its federation on NATS may have another name.
        """
        manifest = await self._api.get(KIND, self.namespace, self.name)
        if manifest is None or manifest["metadata"]["uid"] != uid:
            return None
        resource = read_resource(manifest)
        members.select(resource.spec.members.selector.expression)
        self._installation.renew()
        observed = await self._observe(resource, members, agents, link)
        if observed is None:
            return self._resync
        actions = reconcile(resource, self._installation.settings, observed)
        written = [action.status for action in actions if isinstance(action, WriteStatus)]
        self.seen.status, self.seen.stream = (written or [resource.status])[-1], observed.bus.stream
        executor = ActionExecutor(self._api, link.bus, manifest)
        after, changed, refusals = self._resync, False, dict[ObjectKey, ApiError]()
        bus_refusals: list[EventfedError] = []
        self._counters.rounds += 1
        for action in actions:
            if isinstance(action, Requeue):
                after = min(after, action.after)
                continue
            name = type(action).__name__
            self._counters.actions[name] = self._counters.actions.get(name, 0) + 1
            try:
                await executor.carry_out(action)
            except AddressTaken as error:
                _log.warning("%s/%s: %s", self.namespace, self.name, error)
                self._refusals.address = error.address
            except ApiError as error:
                # One object that a quota or an admission policy keeps out must not keep the others out, nor the status.
                if not (isinstance(action, Apply) and _is_refusal(error)):
                    raise
                refusals[action.key] = error
            except EventfedError as error:
                # A bus that takes no roster must not keep the status from saying so.
                if isinstance(action, EnsureStream | PublishRoster):
                    bus_refusals.append(error)
                    continue
                if not (isinstance(action, DeleteStream) and action.last_try):
                    raise
                self._failed(error)
                _log.warning("%s/%s: stream %s stays: delete it by hand", self.namespace, self.name, action.name)
            changed = changed or not isinstance(action, WriteStatus | EmitEvent)
        self._refusals.objects = {key: str(error) for key, error in refusals.items()}
        self._refusals.bus = next((str(one) for one in bus_refusals if not _is_conflict(one)), "")
        if refusals:
            raise next(iter(refusals.values()))
        if bus_refusals:
            raise bus_refusals[0]
        self._own_changes.looked(changed=changed)
        return min(after, self._own_changes.pause) if changed else max(after, _GATHER)

    async def _observe(self, resource: Resource, members: PodWatch, agents: PodWatch, link: BusLink) -> Snapshot | None:
        """What there is; None as long as the pods are not known."""
        if not (members.listed and agents.listed):
            return None
        api, namespace, installation = self._api, self.namespace, self._installation
        keys = [ObjectKey(kind, resource.agent_name) for kind in _OBJECTS]
        keys.append(ObjectKey("Secret", resource.asterisk_name))
        objects = {key: await api.get(key.kind, namespace, key.name) for key in keys}
        named = {name: await api.get("Secret", namespace, name) for name in referenced_secrets(resource.spec.nats)}
        problem: str | None = None
        try:
            link.want(
                bus_access(resource, installation.settings, installation.chart_nats, named)
                if resource.is_allowed(installation.settings)
                else None
            )
        except BusAccessError as error:
            link.want(None)
            problem = str(error)
        return Snapshot(
            now=datetime.now(UTC),
            fresh_token=secrets.token_hex(24),
            objects={key: one for key, one in objects.items() if one is not None},
            secrets=named,
            pods=tuple(read_pod(one) for one in members.pods.values()),
            agents=tuple(read_agent(one) for one in agents.pods.values()),
            rivals=tuple(await self._rivals(resource)),
            bus=await link.bus.observe(mark=_mark(objects[ObjectKey("Secret", resource.agent_name)]))
            if link.bus
            else BusSnapshot(problem=problem or link.problem or NOT_YET),
            address_refused=self._refusals.address,
            refused=dict(self._refusals.objects),
            bus_refused=self._refusals.bus,
            since=self._since,
        )

    async def _rivals(self, resource: Resource) -> list[Rival]:
        """The other EventFederations of the namespace; one that says nothing usable of its members has none."""
        rivals: list[Rival] = []
        for one in (await self._api.list(KIND, self.namespace)).items:
            try:
                if one["metadata"]["uid"] != resource.uid:
                    rivals.append(read_rival(one))
            except (KeyError, ValueError):
                continue
        return rivals

    async def _refuse(self, message: str) -> None:
        """Say that it cannot be acted on. One that is deleted is let go all the same."""
        manifest = await self._api.get(KIND, self.namespace, self.name)
        if manifest is None:
            return
        executor = ActionExecutor(self._api, None, manifest)
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp") and FINALIZER in (metadata.get("finalizers") or ()):
            await executor.remove_finalizer()
            return
        now, generation = datetime.now(UTC), metadata.get("generation", 0)
        status = invalid_status(executor.status, generation=generation, message=message, now=now)
        self.seen.status = status
        if differs(executor.status, status):
            await executor.write_status(status)

    def _failed(self, error: EventfedError) -> None:
        """Counted each time, and logged once until it has changed or passed."""
        self._counters.failures += 1
        if str(error) != self._problem:
            self._problem = str(error)
            _log.warning("%s/%s: %s", self.namespace, self.name, error)

    async def _sleep(self, seconds: float) -> None:
        """Until something changes, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
            await asyncio.sleep(_GATHER)
        except TimeoutError:
            pass


def _is_conflict(error: EventfedError) -> bool:
    """Whether somebody else wrote meanwhile: what he wrote is read soon, and nothing is wrong with the bus."""
    return isinstance(error, StreamUnavailable) and error.is_conflict


def _now() -> float:
    return asyncio.get_running_loop().time()


def _wish(error: EventfedError) -> float:
    """For how many seconds the API server asked not to be asked again."""
    return error.retry_after if isinstance(error, ApiError) else 0.0


def _is_refusal(error: ApiError) -> bool:
    """Whether the API server does not want what we wrote; it may want it another time."""
    return error.status in _REFUSALS


def _mark(secret: Document | None) -> str:
    """The mark of the current header secret; empty if there is none that can be read."""
    try:
        return token_mark(base64.b64decode(((secret or {}).get("data") or {})["token"], validate=True).decode())
    except (KeyError, ValueError):
        return ""
