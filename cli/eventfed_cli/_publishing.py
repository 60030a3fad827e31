"""``eventfed publish``: one state from the command line, for tests and for scripts that own a device."""

import asyncio
import os
import socket
import sys

from eventfed import EID, Claim, ClaimState, Event, Federation

from ._bus import AGENT_NAME, BusTarget, connect
from ._exits import BusUnreachable, Failure
from ._signals import run_until_stopped
from ._states import value_text

__all__ = ["publish_once", "publish_while_held"]


def publish_once(access: BusTarget, event: Event) -> None:
    """Publish one state and say how long it will last."""

    async def run() -> None:
        async with connect(access, create_stream=True) as federation:
            federation.publish(event)
            await _flush(federation, access)
            lease = federation.view.leases.get(event.eid)
        print(f"published {event.key}: {value_text(event)} under {event.eid}")
        if lease is None:
            print(
                f"no agent holds the lease of {event.eid}: the state goes after the grace "
                f"({access.settings.grace_period:g} s by these settings); use --hold to keep it",
                file=sys.stderr,
            )
        else:
            print(
                f"{event.eid} is {lease.name}, served by agent {lease.agent}, which may publish its own value again",
                file=sys.stderr,
            )

    asyncio.run(run())


def publish_while_held(access: BusTarget, event: Event) -> None:
    """Publish one state under a lease of our own, and take both back when stopped.

    Raises:
        Failure: when an agent holds the lease of that EID, or takes it over.
    """
    run_until_stopped(_hold(access, event))


async def _hold(access: BusTarget, event: Event) -> None:
    async with connect(access, create_stream=True) as federation:
        changed = asyncio.Event()
        host = socket.gethostname()
        claim = federation.claim(
            event.eid, uid=f"{AGENT_NAME}:{host}:{os.getpid()}", name=f"eventfed publish on {host}",
            on_change=lambda _: changed.set(),
        )  # fmt: skip
        try:
            await _wait_held(claim, changed, event.eid, access)
            federation.publish(event)
            claim.complete()
            await _flush(federation, access)
            print(f"holding {event.key}: {value_text(event)} under {event.eid} until Ctrl-C", flush=True)
            while claim.state is ClaimState.HELD or claim.state is ClaimState.WAITING:
                await changed.wait()
                changed.clear()
            raise Failure(_taken(claim, event.eid))
        finally:
            if claim.state is ClaimState.HELD:
                federation.retract(event.state_key)
                await federation.flush(access.timeout)
                claim.release()
                await federation.flush(access.timeout)


async def _wait_held(claim: Claim, changed: asyncio.Event, eid: EID, access: BusTarget) -> None:
    try:
        async with asyncio.timeout(access.timeout):
            while claim.state is ClaimState.WAITING:
                await changed.wait()
                changed.clear()
    except TimeoutError:
        raise BusUnreachable(f"the lease of {eid} could not be written within {access.timeout:g} s") from None
    if claim.state is not ClaimState.HELD:
        raise Failure(_taken(claim, eid))


def _taken(claim: Claim, eid: EID) -> str:
    rival = claim.rival
    who = f"agent {rival.agent} for {rival.name}" if rival else "another agent"
    return f"the lease of {eid} is held by {who}: use an EID of your own (--eid 02:…)"


async def _flush(federation: Federation, access: BusTarget) -> None:
    if not await federation.flush(access.timeout):
        raise BusUnreachable(federation.problem or f"NATS has not stored it within {access.timeout:g} s")
