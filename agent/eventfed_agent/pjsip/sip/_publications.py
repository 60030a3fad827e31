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

__all__ = ["Beginning", "CompositorSettings", "EventStateCompositor", "Publication", "PublicationKind"]


class PublicationKind(enum.Enum):
    """The four kinds of PUBLISH (RFC 3903 section 4.1)."""

    INITIAL = "initial"
    MODIFY = "modify"
    REFRESH = "refresh"
    REMOVE = "remove"


class Beginning(enum.Enum):
    """Why a server sent an INITIAL.

    An Asterisk whose PUBLISH got 412 makes another publish client and sends the same body through it, with another
    Call-ID and CSeq (`sip_outbound_publish_callback` in ``res_pjsip_outbound_publish.c``). So the body tells which
    INITIAL follows a 412.

    OWN: nobody asked for it. The server started, or was reloaded with another configuration.
    UNKNOWN_ETAG: we answered 412 to an ETag that we did not give; an agent before us did, or we dropped it.
    EXPIRED_ETAG: we answered 412 to an ETag that we gave and let expire. The publication goes on.
    """

    OWN = "own"
    UNKNOWN_ETAG = "unknown etag"
    EXPIRED_ETAG = "expired etag"


@dataclass(frozen=True, slots=True)
class Publication:
    """One accepted PUBLISH.

    `body` is None where there is none: always for REFRESH, and for the INITIAL by which an Asterisk comes back that
    lost what it wanted to say, or only wanted to prolong a publication that we had let expire. `cseq_gap` tells that
    requests of the same Call-ID before this one, or before the 412 that it follows, never arrived (or came out of
    order). `expires` is what was granted, in seconds; 0 for REMOVE. `beginning` is None for all but INITIAL.
    """

    kind: PublicationKind
    source: Hashable
    event: str
    call_id: str
    cseq: int
    cseq_gap: bool
    body: bytes | None
    expires: int
    beginning: Beginning | None = None

    @property
    def of_its_own(self) -> bool:
        """Whether it is an INITIAL that none of our answers caused: the first word of a server that has started."""
        return self.kind is PublicationKind.INITIAL and self.beginning in (None, Beginning.OWN)

    @property
    def goes_on(self) -> bool:
        """Whether the server went on with what it said to us before; True for all but INITIAL.

        An INITIAL goes on where we had let the publication expire. Else the server has started, or was served by
        another agent, by this one before it was started, or by nobody.
        """
        return self.kind is not PublicationKind.INITIAL or self.beginning is Beginning.EXPIRED_ETAG


@dataclass(frozen=True, slots=True)
class CompositorSettings:
    """Lifetimes in seconds.

    A publication is granted what it asks for, up to `max_expires`. Its ETag stays known for longer: an Asterisk
    prolongs its publication when the time that it *asked for* is over, whatever was granted (tried on 16 and 22;
    `schedule_publish_refresh` in ``res_pjsip_outbound_publish.c``). It counts from the answer, and the answer as well
    as the next request may each be under way for `request_lifetime` (64*T1: Timer F, RFC 3261 17.1.2.2).
    """

    packages: frozenset[str] = frozenset({"asterisk-devicestate", "asterisk-mwi"})
    content_types: frozenset[str] = frozenset({"application/json"})
    default_expires: int = 3600
    max_expires: int = 3600
    request_lifetime: float = 32.0
    publications_per_source: int = 64

    @property
    def margin(self) -> float:
        """For how long an ETag is known after the time that was asked for; and for how long after a 412 the INITIAL
        that it causes may come."""
        return 2 * self.request_lifetime


@dataclass(slots=True)
class _Stored:
    call_id: str
    event: str
    until: float


@dataclass(slots=True)
class _Sequence:
    last: int
    gap: bool = False


@dataclass(frozen=True, slots=True)
class _Refused:
    """A request that got 412."""

    event: str
    body: bytes
    until: float
    beginning: Beginning
    gap: bool


@dataclass(slots=True)
class _Source:
    by_etag: OrderedDict[str, _Stored] = field(default_factory=OrderedDict)
    etags: dict[tuple[str, str], str] = field(default_factory=dict)
    sequences: OrderedDict[str, _Sequence] = field(default_factory=OrderedDict)
    refused: OrderedDict[str, _Refused] = field(default_factory=OrderedDict)
    """By Call-ID."""


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
        415 for other bodies. Never 401: an Asterisk without credentials stands still after it and does not come back.
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
            if stored is None or (stored.event, stored.call_id) != (event, request.call_id):
                self._note(known, event, request, Beginning.UNKNOWN_ETAG, now)
                return Response.answer(request, 412), None
            if stored.until <= now:
                self._note(known, event, request, Beginning.EXPIRED_ETAG, now)
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
        beginning, gap = None, sequence.gap
        if kind is PublicationKind.INITIAL:
            refused = self._refused(known, event, request, now)
            beginning = refused.beginning if refused is not None else Beginning.OWN
            gap = gap or (refused is not None and refused.gap)
        if expires:
            until = now + max(expires, asked or 0) + settings.margin
            headers.append(("SIP-ETag", self._store(known, event, request.call_id, until)))
        publication = Publication(
            kind, source, event, request.call_id, request.cseq, gap, request.body or None, expires, beginning
        )
        sequence.gap = False
        return Response.answer(request, 200, headers), publication

    def forget(self, source: Hashable) -> None:
        """Drop everything of a source that is served no longer."""
        self._sources.pop(source, None)

    def publications(self, source: Hashable, now: float) -> int:
        """How many publications of the source can still be prolonged."""
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

    def _note(self, known: _Source, event: str, request: Request, beginning: Beginning, now: float) -> None:
        """Remember a request that gets 412, to know the INITIAL that it causes. Its Call-ID ends with it, and so a gap
        in it has to be told by that INITIAL."""
        gap = known.sequences[request.call_id].gap
        known.refused[request.call_id] = _Refused(event, request.body, now + self._settings.margin, beginning, gap)
        known.refused.move_to_end(request.call_id)
        if len(known.refused) > self._settings.publications_per_source:
            known.refused.popitem(last=False)

    @staticmethod
    def _refused(known: _Source, event: str, request: Request, now: float) -> _Refused | None:
        """What got 412 and comes again as this INITIAL; each counts once."""
        for call_id, refused in known.refused.items():
            same = call_id == request.call_id or refused.body == request.body
            if same and refused.event == event and now < refused.until:
                return known.refused.pop(call_id)
        return None

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
