"""Watch a federation: what there is, then every change.

python examples/watch_states.py nats://127.0.0.1:4222 voice_pbx
"""

import asyncio
import contextlib
import sys

from eventfed import EventType, Federation, FederationSettings, MemberChanged, StateChanged, StateRemoved, Synced


async def main(servers: str, federation: str) -> None:
    # A mere watcher makes no stream, and no tombstones for servers that have gone.
    settings = FederationSettings(create_stream=False, deputy=False)
    async with Federation.connect(servers, federation=federation, agent="example", settings=settings) as client:
        if not await client.wait_synced(5):
            print("still waiting:", client.problem)
        async for change in client.watch():
            match change:
                case MemberChanged(eid, None):
                    print(f"{eid} has no lease any more")
                case MemberChanged(eid, lease):
                    print(f"{eid} is {lease.name}, served by {lease.agent}")
                case StateChanged(event) if event.type is EventType.MWI:
                    print(f"{event.eid} {event.key}: {event.counts.new} new, {event.counts.old} old")
                case StateChanged(event) if event.type is EventType.DEVICE_STATE_CHANGE:
                    print(f"{event.eid} {event.key}: {event.device_state.name}")
                case StateChanged(event):
                    print(f"{event.eid} {event.key}: {event.elements}")
                case StateRemoved(key):
                    print(f"{key.eid} {key.key}: gone")
                case Synced():
                    print("that is all there is; now live", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:3]))
