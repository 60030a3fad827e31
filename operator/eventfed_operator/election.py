"""Which of several operators acts: the holder of a Lease (coordination.k8s.io)."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .environment import ElectionSettings
from .health import Health
from .kubernetes_api import ApiError, Document, KubernetesApi

__all__ = ["Candidate", "Election", "LeadershipLost"]

_log = logging.getLogger("eventfed.operator")
_CONFLICT = 409
_RENEW_SHARE = 2 / 3
_LAST_WORD = 3.0


class LeadershipLost(ApiError):
    """The Lease could not be renewed in time, so another operator may act by now: this process has to end."""


@dataclass(slots=True)
class Candidate:
    """Decides whether the Lease may be taken. It trusts no other host's clock.

    A holder is gone when its Lease has stood unchanged for its duration by *our* clock.
    """

    settings: ElectionSettings
    seen: tuple[str, str] = ("", "")
    seen_at: float = 0.0

    def may_take(self, lease: Document | None, now: float) -> bool:
        """Whether we hold the Lease, or may take it.

        Args:
            now: seconds, of a clock that never goes back.
        """
        spec = (lease or {}).get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self.settings.identity):
            return True
        seen = (holder, str(spec.get("renewTime")))
        if seen != self.seen:
            self.seen, self.seen_at = seen, now
        return now - self.seen_at > float(spec.get("leaseDurationSeconds") or self.settings.duration)

    def lease(self, present: Document | None, *, wall: datetime, holder: str | None = None) -> dict[str, Any]:
        """The Lease with us as its holder (or `holder`), to be written in place of `present`."""
        before: Mapping[str, Any] = (present or {}).get("spec") or {}
        identity = self.settings.identity if holder is None else holder
        same = before.get("holderIdentity") == identity
        time_ = wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **((present or {}).get("metadata") or {}),
                "name": self.settings.name,
                "namespace": self.settings.namespace,
            },
            "spec": {
                "holderIdentity": identity,
                "leaseDurationSeconds": max(1, round(self.settings.duration)),
                "acquireTime": before.get("acquireTime", time_) if same else time_,
                "renewTime": time_,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if same or not present else 1),
            },
        }


class Election:
    """Takes the Lease, keeps it, gives it back.

    Args:
        health: told of the API server's first answer, and of whether we lead.
    """

    def __init__(self, api: KubernetesApi, settings: ElectionSettings, health: Health) -> None:
        self._api = api
        self._settings = settings
        self._health = health
        self._candidate = Candidate(settings)
        self._asked_to_wait = 0.0

    async def win(self) -> None:
        """Wait until we hold the Lease."""
        while not await self._take():  # noqa: ASYNC110 - the Lease tells nobody that it is free
            await asyncio.sleep(self._pause)
        self._health.leading = True
        _log.info("%s leads, by Lease %s", self._settings.identity, self._settings.name)

    async def keep(self) -> None:
        """Renew the Lease until cancelled.

        Raises:
            LeadershipLost: it could not be renewed for two thirds of its duration.
        """
        settings = self._settings
        limit, renewed = settings.duration * _RENEW_SHARE, time.monotonic()
        while True:
            # A leader has to know in time that it is none any more, whatever the API server asks for.
            await asyncio.sleep(max(0.0, min(self._pause, renewed + limit - time.monotonic())))
            # Others count from when the Lease was written, which is before the answer comes.
            began = time.monotonic()
            try:
                # One request that gets no answer must not use up all the time that there is.
                async with asyncio.timeout(max(0.1, min(renewed + limit - began, settings.renewal))):
                    held = await self._take()
            except TimeoutError:
                held = False
            if held:
                renewed = began
            elif time.monotonic() - renewed > limit:
                self._health.leading = False
                raise LeadershipLost(0, f"Lease {settings.name} could not be renewed for {limit:.0f} s")

    async def give_back(self) -> None:
        """So that the next one need not wait. It takes 3 s at most: what does not succeed lapses by itself."""
        settings = self._settings
        self._health.leading = False
        try:
            async with asyncio.timeout(_LAST_WORD):
                present = await self._api.get("Lease", settings.namespace, settings.name)
                if present is not None and (present.get("spec") or {}).get("holderIdentity") == settings.identity:
                    wanted = self._candidate.lease(present, wall=datetime.now(UTC), holder="")
                    await self._api.replace("Lease", settings.namespace, settings.name, wanted)
        except (ApiError, TimeoutError) as error:
            _log.warning("Lease %s could not be given back: %s", settings.name, str(error) or "no answer")

    @property
    def _pause(self) -> float:
        """Until the Lease is looked at again, in seconds. Chance keeps two candidates from asking together."""
        return max(self._settings.renewal * random.uniform(0.8, 1.0), self._asked_to_wait)

    async def _take(self) -> bool:
        """Try once. A refusal of the API server is no, an outage too."""
        settings = self._settings
        self._asked_to_wait = 0.0
        try:
            present = await self._api.get("Lease", settings.namespace, settings.name)
            self._health.contact = True
            if not self._candidate.may_take(present, time.monotonic()):
                return False
            wanted = self._candidate.lease(present, wall=datetime.now(UTC))
            if present is None:
                await self._api.create("Lease", settings.namespace, wanted)
            else:
                await self._api.replace("Lease", settings.namespace, settings.name, wanted)
        except ApiError as error:
            self._asked_to_wait = error.retry_after
            if error.status != _CONFLICT:
                _log.warning("Lease %s: %s", settings.name, error)
            return False
        return True
