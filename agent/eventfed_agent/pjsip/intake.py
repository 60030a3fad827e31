"""What the PUBLISH requests of a server tell its member."""

import enum

from ..adapter import Host
from .payloads import Payload, RefreshPayload, StatePayload
from .sip import Publication, PublicationKind
from .sources import Forgetful

__all__ = ["PublishAnswer", "take_in"]


class PublishAnswer(enum.Enum):
    """What a PUBLISH is answered with."""

    ACCEPT = 200
    REFUSE = 403
    SILENCE = 0


def take_in(host: Host, adapter: Forgetful, publication: Publication, payload: Payload | None) -> PublishAnswer:
    """Take in one PUBLISH that the compositor accepted, and say how to answer it."""
    if not host.open:
        return PublishAnswer.SILENCE
    if publication.kind is PublicationKind.REMOVE:
        host.left()
        return PublishAnswer.ACCEPT
    if payload is not None and not host.identified(payload.eid):
        return PublishAnswer.REFUSE
    if not host.spoke():
        return PublishAnswer.SILENCE
    if publication.cseq_gap:
        host.missed()
    if isinstance(payload, RefreshPayload):
        adapter.expect_restart()
        # Of its own: Asterisk's first word after its start; what it says of its mailboxes from now on is news.
        host.lost_touch("refresh", restarted=publication.of_its_own)
    elif not publication.goes_on:
        host.lost_touch("initial")
    if isinstance(payload, StatePayload):
        host.heard(payload.event)
    return PublishAnswer.ACCEPT
