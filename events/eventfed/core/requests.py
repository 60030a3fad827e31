"""What clients ask of the agents that own states: to tell them again, to forget one. No I/O."""

from collections.abc import Callable

from ..model.eid import EID
from ..model.errors import MalformedEvent
from ..model.event import StateKey
from ..model.kinds import kind_of
from ..wire.subjects import ForgetSubject, RefreshSubject, Subjects
from .callbacks import Callbacks

__all__ = ["Requests"]


class Requests:
    """Requests that every client hears; the agent that holds the lease acts. Nobody confirms them.

    Args:
        send: publishes an empty message; whether it could.
    """

    def __init__(self, subjects: Subjects, send: Callable[[str, bytes], bool]) -> None:
        self._subjects = subjects
        self._send = send
        self._on_refresh = Callbacks[EID | None]()
        self._on_forget = Callbacks[StateKey]()

    def came(self, request: RefreshSubject | ForgetSubject) -> None:
        """Somebody asks."""
        match request:
            case RefreshSubject(_, eid):
                self._on_refresh.call(eid)
            case ForgetSubject(_, key) if kind_of(key.type).is_counted:
                self._on_forget.call(key)

    def refresh(self, eid: EID | None = None) -> bool:
        """Ask the owner of `eid`, or every owner, to have its server tell all its states again. Whether it was sent."""
        return self._send(self._subjects.refresh(eid), b"")

    def on_refresh(self, callback: Callable[[EID | None], None]) -> Callable[[], None]:
        """Call `callback` when somebody asks for a refresh (None: of everything). The result ends that."""
        return self._on_refresh.add(callback)

    def forget(self, key: StateKey) -> bool:
        """Ask the owner to take back what its server said of a mailbox, until it names it again. Whether it was sent.

        Its tombstone in the view says that it was done. An owner whose server is telling all its states waits for
        another request: ask again until then.

        Raises:
            MalformedEvent: for another state than a mailbox's.
        """
        if not kind_of(key.type).is_counted:
            raise MalformedEvent(f"{key.key!r:.60} is no mailbox: servers take other states back by themselves")
        return self._send(self._subjects.forget(key), b"")

    def on_forget(self, callback: Callable[[StateKey], None]) -> Callable[[], None]:
        """Call `callback` when somebody asks to forget a mailbox. The result ends that."""
        return self._on_forget.add(callback)
