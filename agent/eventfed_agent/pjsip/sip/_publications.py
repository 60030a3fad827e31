"""The event state compositor of RFC 3903 section 6, for what Asterisk servers publish to us. Without I/O.

Sources are whatever hashable name the caller has for a server (its address, its pod). Nothing is shared between them:
an ETag works only for the source that was given it, unlike in Asterisk, where any endpoint may use it.
"""

from __future__ import annotations

import enum
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ._messages import Request, Response

__all__ = ["CompositorSettings", "EventStateCompositor", "Publication", "PublicationKind"]


class PublicationKind(enum.Enum):
    """The four kinds of PUBLISH (RFC 3903 section 4.1)."""

    INITIAL = "initial"
    MODIFY = "modify"
    REFRESH = "refresh"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Publication:
    """One accepted PUBLISH.

    `body` is None where there is none: always for REFRESH, and for the INITIAL by which an Asterisk comes back that
    lost what it wanted to say. `cseq_gap` tells that requests of the same Call-ID before this one never arrived (or
    came out of order). `expires` is what was granted, in seconds; 0 for REMOVE.
    """

    kind: PublicationKind
    source: Hashable
    event: str
    call_id: str
    cseq: int
    cseq_gap: bool
    body: bytes | None
    expires: int


@dataclass(frozen=True, slots=True)
class CompositorSettings:
    """Lifetimes in seconds.

    A publication is granted what it asks for, up to `max_expires`, and kept for at least `min_expires`.
    """

    packages: frozenset[str] = frozenset({"asterisk-devicestate", "asterisk-mwi"})
    content_types: frozenset[str] = frozenset({"application/json"})
    default_expires: int = 3600
    min_expires: int = 10
    max_expires: int = 3600
    publications_per_source: int = 64


@dataclass(slots=True)
class _Stored:
    call_id: str
    event: str
    until: float


@dataclass(slots=True)
class _Sequence:
    last: int
    gap: bool = False


@dataclass(slots=True)
class _Source:
    by_etag: OrderedDict[str, _Stored] = field(default_factory=OrderedDict)
    etags: dict[tuple[str, str], str] = field(default_factory=dict)
    sequences: OrderedDict[str, _Sequence] = field(default_factory=OrderedDict)


class EventStateCompositor:
    """Answers PUBLISH requests and tells what they mean.

    `evicted` counts publications dropped because their source made more than `publications_per_source`; the next
    modification of such a one gets 412.
    """

    def __init__(self, settings: CompositorSettings = CompositorSettings()) -> None:
        self._settings = settings
        self._sources: dict[Hashable, _Source] = {}
        self.evicted = 0

    def receive(
        self,
        request: Request,
        source: Hashable,
        now: float,
        refuse: Callable[[Request], int | None] = lambda _: None,
    ) -> tuple[Response, Publication | None]:
        """The answer to a PUBLISH, and the publication if it was accepted.

        `refuse` is asked last and may name a status; the publication then stays as it was, with its ETag. An Asterisk
        goes on with the ETag it has after such an answer.

        412 for an unknown SIP-If-Match (Asterisk then sends the same body as initial), 489 for other event packages,
        415 for other bodies. Never 401: an Asterisk without credentials stands still for ever after it.
        """
        settings = self._settings
        event = request.event
        if event is None or event not in settings.packages:
            return Response.answer(request, 489, [("Allow-Events", ", ".join(sorted(settings.packages)))]), None
        if request.body and request.content_type not in settings.content_types:
            return Response.answer(request, 415, [("Accept", ", ".join(sorted(settings.content_types)))]), None
        known = self._sources.get(source)
        if known is None:
            known = self._sources[source] = _Source()
        sequence = self._follow(known, request)
        etag = request.sip_if_match
        if etag is not None:
            stored = known.by_etag.get(etag)
            if stored is None or stored.until <= now or (stored.event, stored.call_id) != (event, request.call_id):
                return Response.answer(request, 412), None
        status = refuse(request)
        if status is not None:
            return Response.answer(request, status), None
        asked = request.expires
        expires = min(settings.default_expires if asked is None else asked, settings.max_expires)
        if expires == 0:
            kind = PublicationKind.REMOVE
        elif etag is None:
            kind = PublicationKind.INITIAL
        else:
            kind = PublicationKind.MODIFY if request.body else PublicationKind.REFRESH
        headers = [("Expires", str(expires))]
        self._drop(known, (event, request.call_id))
        if expires:
            etag = self._store(known, event, request.call_id, now + max(expires, settings.min_expires))
            headers.append(("SIP-ETag", etag))
        publication = Publication(
            kind, source, event, request.call_id, request.cseq, sequence.gap, request.body or None, expires
        )
        sequence.gap = False
        return Response.answer(request, 200, headers), publication

    def forget(self, source: Hashable) -> None:
        """Drop everything of a source that is served no longer."""
        self._sources.pop(source, None)

    def publications(self, source: Hashable, now: float) -> int:
        """How many publications of the source have not expired."""
        known = self._sources.get(source)
        return sum(stored.until > now for stored in known.by_etag.values()) if known else 0

    def _follow(self, known: _Source, request: Request) -> _Sequence:
        """Note the CSeq. A gap is remembered until a publication is accepted that can tell it."""
        sequence = known.sequences.get(request.call_id)
        if sequence is None:
            sequence = known.sequences[request.call_id] = _Sequence(request.cseq)
            if len(known.sequences) > self._settings.publications_per_source:
                known.sequences.popitem(last=False)
        else:
            known.sequences.move_to_end(request.call_id)
            if request.cseq not in (sequence.last, sequence.last + 1):
                sequence.gap = True
            sequence.last = max(sequence.last, request.cseq)
        return sequence

    def _store(self, known: _Source, event: str, call_id: str, until: float) -> str:
        if len(known.by_etag) >= self._settings.publications_per_source:
            _, oldest = known.by_etag.popitem(last=False)
            del known.etags[oldest.event, oldest.call_id]
            self.evicted += 1
        etag = secrets.token_hex(12)
        known.by_etag[etag] = _Stored(call_id, event, until)
        known.etags[event, call_id] = etag
        return etag

    def _drop(self, known: _Source, name: tuple[str, str]) -> None:
        etag = known.etags.pop(name, None)
        if etag is not None:
            del known.by_etag[etag]
