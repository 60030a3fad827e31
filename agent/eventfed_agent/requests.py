"""What comes over the bus for the members of an agent beside states: requests, and events without a last value."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from eventfed import EID, Event, Federation, StateKey

from .members.member import Member

__all__ = ["answer_requests"]


@contextmanager
def answer_requests(federation: Federation, members: Collection[Member]) -> Iterator[None]:
    """Hand them to the members that they are for, while the context is open. `members` are those of each moment."""

    def refresh(eid: EID | None) -> None:
        for member in members:
            if eid is None or member.eid == eid:
                member.refresh("requested")

    def forget(key: StateKey) -> None:
        for member in members:
            # What a server tells while it dumps may have been said before; anyone who asks does so again.
            if member.eid == key.eid and member.dumps.window is None:
                member.identity.forget(key)

    def inject_transient(event: Event) -> None:
        for member in members:
            member.inject_transient(event)

    with ExitStack() as stack:
        stack.callback(federation.requests.on_refresh(refresh))
        stack.callback(federation.requests.on_forget(forget))
        stack.callback(federation.on_event(inject_transient))
        yield
