"""What was seen of a member that does not take part, and the advice that follows from it."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ..configuration import MemberConfiguration

__all__ = ["Evidence", "Stranger", "Strangers"]

_LATELY = 300.0
"""For how long something that was seen counts, in seconds: a server publishes at least once a minute."""
_MAX_STRANGERS = 64
_SNIPPET = "see `eventfed asterisk-config`"


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who published from an address that no member has.

    Args:
        host: the address.
        eid: under which EID, as text; empty where the message did not name one.
        at: when it came last, in seconds of the event loop's clock.
    """

    host: str
    eid: str
    at: float


class Strangers:
    """The last few of them."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Stranger] = OrderedDict()

    def note(self, host: str, eid: str, now: float) -> None:
        """It published."""
        before = self._seen.pop(host, None)
        self._seen[host] = Stranger(host, eid or (before.eid if before is not None else ""), now)
        if len(self._seen) > _MAX_STRANGERS:
            self._seen.popitem(last=False)

    def lately(self, now: float) -> list[Stranger]:
        """Those of the last five minutes, the latest first."""
        return [one for one in reversed(self._seen.values()) if now - one.at <= _LATELY]


class Evidence:
    """What is known of one member that answers and has not published anything that we took.

    The texts hold no times, so that a state that lasts is told once.
    """

    def __init__(self, configuration: MemberConfiguration, strangers: Callable[[], Strangers]) -> None:
        self._member = configuration
        self._strangers = strangers
        self._refused: tuple[float, str] | None = None
        self._accepts = False

    def we_refused(self, why: str, now: float) -> None:
        """Something that it published was refused by us."""
        self._refused = now, why

    def it_accepted(self) -> None:
        """It took our PUBLISH."""
        self._accepts = True

    def explain(self, now: float) -> str:
        """Why nothing of it is known, as far as was seen."""
        host = self._member.host
        if self._refused is not None and now - self._refused[0] <= _LATELY:
            return f"what it publishes is refused by us: {self._refused[1]}"
        strangers = self._strangers().lately(now)
        known = next((one for one in strangers if one.eid and one.eid == self._member.eid), None)
        if known is not None:
            return (
                f"its EID {known.eid} publishes from {known.host}, not from {host}: set host to {known.host}, or let "
                f"it send from {host}"
            )
        if strangers:
            one = strangers[0]
            eid = f" under EID {one.eid}" if one.eid else ""
            return (
                f"nothing came from {host}, but {one.host} publishes{eid} and is no member's address: if it is this "
                "server, set host to that, or let it send from here"
            )
        if self._accepts:
            return (
                f"it takes our PUBLISH, but nothing came from {host}: its outbound-publish sections are missing or "
                f"lead elsewhere, or something drops what it sends: {_SNIPPET}"
            )
        return f"it answers OPTIONS, but no PUBLISH came from {host}: its pjsip.conf lacks the snippet: {_SNIPPET}"
