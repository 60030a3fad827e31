"""Which member a request comes from."""

from collections import OrderedDict

from ..members.member import Member
from .sip import Address, EventStateCompositor, Publication, Request, Response

__all__ = ["Sources"]

_MAX_CALLS = 4096


class Sources:
    """Tells members apart by source address; where several share one, by EID or publication.

    Args:
        compositor: answers a PUBLISH that names nobody, under its source address.
    """

    def __init__(self, compositor: EventStateCompositor) -> None:
        self._compositor = compositor
        self._by_host: dict[str, list[Member]] = {}
        self._by_call: OrderedDict[tuple[str, str], Member] = OrderedDict()

    def __len__(self) -> int:
        """How many entries it holds."""
        return len(self._by_host) + len(self._by_call)

    def add(self, member: Member) -> None:
        """What comes from its address is its own from now on."""
        self._by_host.setdefault(member.configuration.host, []).append(member)

    def forget(self, member: Member) -> None:
        """Nothing is its own any more; its publications are forgotten."""
        host = member.configuration.host
        self._by_host[host].remove(member)
        for call in [call for call, other in self._by_call.items() if other is member]:
            del self._by_call[call]
        self._compositor.forget(member.name)
        if not self._by_host[host]:
            del self._by_host[host]
            self._compositor.forget((host,))

    def is_known(self, host: str) -> bool:
        """Whether any member has this address."""
        return host in self._by_host

    def at(self, host: str) -> tuple[Member, ...]:
        """The members that have this address."""
        return tuple(self._by_host.get(host, ()))

    def member_of(self, request: Request, source: Address, now: float) -> Member | Response:
        """The member that a request from a known address comes from, or what to answer a request that names none."""
        candidates = self._by_host[source.host]
        if len(candidates) == 1:
            return candidates[0]
        member = self._by_call.get((source.host, request.call_id))
        if member is not None:
            return member
        for candidate in candidates:
            eid = candidate.configuration.eid
            if eid is not None and f'"{eid}"'.encode() in request.body.lower():
                return candidate
        # A PUBLISH without a body names nobody; what the server says when it is asked will.
        response, publication = self._compositor.receive(request, (source.host,), now)
        if publication is not None and (not publication.goes_on or publication.cseq_gap):
            for candidate in candidates:
                candidate.refresh("unidentified")
        return response

    def remember(self, member: Member, publication: Publication) -> None:
        """What follows in this publication is of the same member."""
        host = member.configuration.host
        if len(self._by_host[host]) > 1:
            self._by_call[host, publication.call_id] = member
            self._by_call.move_to_end((host, publication.call_id))
            if len(self._by_call) > _MAX_CALLS:
                self._by_call.popitem(last=False)
