"""Where one member stands, as a state machine. Pure: no clock, no I/O."""

import enum

from eventfed.wire.report import MemberState

__all__ = ["Input", "Lifecycle"]


class Input(enum.StrEnum):
    """What is learned of a member.

    ANSWERS, LOST: it answers, or does so no more. IDENTIFIED: it published under an EID that it may have. YIELDED:
    another server has this EID now. REFUSED: its EID is that of another member of this agent. RIVAL, NO_RIVAL: another
    server, at another agent, has its EID and answers; or that is over. TROUBLE, MENDED: its configuration lacks
    something, or lacks nothing. MOVED, RETURNED: another agent serves it, or does so no more. BEHIND: it may lack
    states. CAUGHT_UP: it has what the federation has, and the federation has what it has.
    """

    ANSWERS = "answers"
    LOST = "lost"
    IDENTIFIED = "identified"
    YIELDED = "yielded"
    REFUSED = "refused"
    RIVAL = "rival"
    NO_RIVAL = "no_rival"
    TROUBLE = "trouble"
    MENDED = "mended"
    MOVED = "moved"
    RETURNED = "returned"
    BEHIND = "behind"
    CAUGHT_UP = "caught_up"


class Lifecycle:
    """The states of one member, and what leads from one to another.

    Several things may be true of a member at once. Its state is the first of these that is: DUPLICATE; LOST while it
    does not answer (CONNECTING if it has not told its EID); NOT_CONFIGURED; CONNECTING; MOVED; SYNCED; SYNCING. So an
    input may lead to one of several states, by what else is true. The table holds all that lead to another state:

    ============== ============ =================================================================
    from           input        to
    ============== ============ =================================================================
    connecting     answers      not_configured
    connecting     identified   syncing, lost
    connecting     refused      duplicate
    connecting     trouble      not_configured
    syncing        lost         lost
    syncing        yielded      connecting
    syncing        refused      duplicate
    syncing        rival        duplicate
    syncing        trouble      not_configured
    syncing        moved        moved
    syncing        caught_up    synced
    synced         lost         lost
    synced         identified   syncing
    synced         yielded      connecting
    synced         refused      duplicate
    synced         rival        duplicate
    synced         trouble      not_configured
    synced         moved        moved
    synced         behind       syncing
    lost           answers      syncing, not_configured, moved
    lost           yielded      connecting
    lost           refused      duplicate
    lost           rival        duplicate
    not_configured lost         connecting, lost
    not_configured refused      duplicate
    not_configured rival        duplicate
    not_configured mended       connecting, syncing, synced, moved
    duplicate      lost         lost
    duplicate      identified   syncing, lost, not_configured
    duplicate      yielded      connecting, not_configured
    duplicate      no_rival     syncing, synced, lost, not_configured, moved
    moved          lost         lost
    moved          identified   syncing
    moved          yielded      connecting
    moved          refused      duplicate
    moved          rival        duplicate
    moved          trouble      not_configured
    moved          returned     syncing, synced
    ============== ============ =================================================================
    """

    def __init__(self) -> None:
        self._alive = False
        self._known = False
        self._refused = False
        self._rival = False
        self._trouble = False
        self._moved = False
        self._caught_up = False

    @property
    def state(self) -> MemberState:
        """The state now."""
        if self._refused or self._rival:
            return MemberState.DUPLICATE
        if not self._alive:
            return MemberState.LOST if self._known else MemberState.CONNECTING
        if self._trouble:
            return MemberState.NOT_CONFIGURED
        if not self._known:
            return MemberState.CONNECTING
        if self._moved:
            return MemberState.MOVED
        return MemberState.SYNCED if self._caught_up else MemberState.SYNCING

    def take(self, what: Input) -> MemberState:
        """Something was learned; returns the state that follows.

        RIVAL, NO_RIVAL, MOVED and RETURNED are about a member that has told its EID, and change nothing before. A
        member is caught up only out of SYNCING.
        """
        match what:
            case Input.ANSWERS:
                self._alive = True
            case Input.LOST:
                self._alive = self._rival = self._caught_up = False
            case Input.IDENTIFIED:
                self._known = True
                self._refused = self._rival = self._moved = self._caught_up = False
            case Input.YIELDED:
                self._known = self._rival = self._moved = self._caught_up = False
            case Input.REFUSED:
                self._refused = True
            case Input.RIVAL | Input.NO_RIVAL:
                self._rival = self._known and what is Input.RIVAL
            case Input.TROUBLE | Input.MENDED:
                self._trouble = what is Input.TROUBLE
            case Input.MOVED | Input.RETURNED:
                self._moved = self._known and what is Input.MOVED
            case Input.BEHIND:
                self._caught_up = False
            case Input.CAUGHT_UP:
                self._caught_up = self._caught_up or self.state is MemberState.SYNCING
        return self.state
