"""Which member a request comes from."""

from collections import OrderedDict
from collections.abc import Collection
from typing import Protocol

from ..adapter import Host, Tokens
from .sip import Address, EventStateCompositor, Publication, Request, Response

__all__ = ["Forgetful", "Sources"]

_MAX_CALLS = 4096


class Forgetful(Protocol):
    """What speaks to one server."""

    def expect_restart(self) -> None:
        """The server has announced that it forgot what it knew."""
        ...

    def use_tokens(self, tokens: Tokens) -> None:
        """Other secrets than before: try them in this order."""
        ...


class Sources:
    """Tells members apart by source address; where several share one, by EID or publication.

    Args:
        compositor: answers a PUBLISH that names nobody, under its source address.
    """

    def __init__(self, compositor: EventStateCompositor) -> None:
        self._compositor = compositor
        self._by_host: dict[str, list[Host]] = {}
        self._adapters: dict[str, Forgetful] = {}
        self._by_call: OrderedDict[tuple[str, str], Host] = OrderedDict()

    def __len__(self) -> int:
        """How many entries it holds."""
        return len(self._by_host) + len(self._by_call)

    def add(self, host: Host, adapter: Forgetful) -> None:
        """What comes from its address is its own from now on."""
        self._by_host.setdefault(host.configuration.host, []).append(host)
        self._adapters[host.name] = adapter

    def forget(self, host: Host) -> None:
        """Nothing is its own any more; its publications are forgotten."""
        address = host.configuration.host
        self._by_host[address].remove(host)
        for call in [call for call, other in self._by_call.items() if other is host]:
            del self._by_call[call]
        del self._adapters[host.name]
        self._compositor.forget(host.name)
        if not self._by_host[address]:
            del self._by_host[address]
            self._compositor.forget((address,))

    def adapter_of(self, host: Host) -> Forgetful:
        """What speaks to a member."""
        return self._adapters[host.name]

    @property
    def adapters(self) -> Collection[Forgetful]:
        """What speaks to all of them."""
        return self._adapters.values()

    def is_known(self, host: str) -> bool:
        """Whether any member has this address."""
        return host in self._by_host

    def at(self, host: str) -> tuple[Host, ...]:
        """The members that have this address."""
        return tuple(self._by_host.get(host, ()))

    def member_of(self, request: Request, source: Address, now: float) -> Host | Response:
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

    def remember(self, host: Host, publication: Publication) -> None:
        """What follows in this publication is of the same member."""
        address = host.configuration.host
        if len(self._by_host[address]) > 1:
            self._by_call[address, publication.call_id] = host
            self._by_call.move_to_end((address, publication.call_id))
            if len(self._by_call) > _MAX_CALLS:
                self._by_call.popitem(last=False)
