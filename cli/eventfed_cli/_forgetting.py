"""``eventfed mailbox forget``: has the owner take a mailbox's count back, or takes it back where there is no owner."""

import asyncio
from contextlib import aclosing

from eventfed import Event, Federation, StateKey, StateRemoved
from eventfed.pace import Backoff, until_due

from ._bus import BusTarget, connect
from ._exits import BusUnreachable, Failure
from ._queries import print_json
from ._states import aggregate, state_document, states_of_name, value_text
from ._tables import printable

__all__ = ["forget_mailbox"]

_FLOOR, _LIMIT = 0.5, 4.0
"""In seconds: how long to wait for the owner before it is asked again."""


def forget_mailbox(access: BusTarget, key: StateKey, *, as_json: bool) -> None:
    """Take one server's count of a mailbox back, and say what the others count.

    Raises:
        Failure: when the server says nothing of the mailbox, or its agent does not forget it in time.
    """
    asyncio.run(_run(access, key, as_json))


async def _run(access: BusTarget, key: StateKey, as_json: bool) -> None:
    async with connect(access) as federation:
        said, lease = federation.get(key), federation.view.leases.get(key.eid)
        if said is None:
            raise Failure(_unknown(federation, key))
        await _take_back(federation, key, access)
        others = states_of_name(federation, key.key).get(key.type, [])
        others = [event for event in others if event.eid != key.eid]
        leases = federation.view.leases
    together, text = aggregate(key.type, others)
    if as_json:
        print_json(
            {
                "name": key.key,
                "eid": str(key.eid),
                "member": lease.name if lease else None,
                "agent": lease.agent if lease else None,
                "forgot": {"new": said.counts.new, "old": said.counts.old},
                "aggregate": together,
                "servers": [state_document(event, leases) for event in others],
            }
        )
        return
    who = f"{lease.name} ({key.eid})" if lease else f"{key.eid}, which no agent serves"
    print(f"forgot {printable(key.key)} of {printable(who)}: it said {value_text(said)}")
    print(f"all servers together: {text if others else 'nothing, no other server says anything of it'}")


async def _take_back(federation: Federation, key: StateKey, access: BusTarget) -> None:
    """Ask, or take it back ourselves, until its tombstone is read."""

    async def ask() -> None:
        backoff, clock = Backoff(_FLOOR, _LIMIT), asyncio.get_running_loop().time
        while True:
            if key.eid in federation.view.leases:
                federation.requests.forget(key)
            else:
                federation.retract(key)
            backoff.failed(clock())
            await until_due(backoff)

    try:
        async with (
            asyncio.timeout(access.timeout),
            asyncio.TaskGroup() as tasks,
            aclosing(federation.watch(type=key.type, eid=key.eid)) as changes,
        ):
            asking = tasks.create_task(ask())
            # It may have gone before the watch began: then no change tells of it.
            while federation.get(key) is not None:
                change = await anext(changes)
                if isinstance(change, StateRemoved) and change.key == key:
                    break
            asking.cancel()
    except TimeoutError:
        if federation.problem is not None:
            raise BusUnreachable(federation.problem) from None
        lease = federation.view.leases.get(key.eid)
        agent = f"agent {lease.agent}" if lease else "NATS"
        raise Failure(
            f"{agent} has not forgotten {key.key} within {access.timeout:g} s: is it of the version of this command, "
            "and do both have the permissions for forget that docs/security.md lists?"
        ) from None


def _unknown(federation: Federation, key: StateKey) -> str:
    counting: list[Event] = states_of_name(federation, key.key).get(key.type, [])
    servers = ", ".join(str(event.eid) for event in counting) or "nobody does"
    return f"{key.eid} says nothing of {key.key} (servers that do: {servers}); mailboxes are written 1001@default"
