"""Devices whose names are in trouble: that several servers claim to provide, or that Asterisk has cut."""

from collections import Counter

from eventfed import EID, Merge, StateKey, View, kind_of
from eventfed.model.device_kinds import is_probably_cut, is_set_by_hand

__all__ = ["contended_names", "cut_names"]


def contended_names(view: View) -> list[str]:
    """Devices set by hand that two servers announce: a foreign NOT_INUSE cannot beat a local INUSE there."""
    names = Counter(key.key for key, state in view.states.items() if _is_provided(key) and not state.tombstone)
    return sorted(name for name, count in names.items() if count > 1)


def _is_provided(key: StateKey) -> bool:
    return kind_of(key.type).merge is Merge.PER_SERVER and is_set_by_hand(key.key)


def cut_names(view: View, eid: EID | None = None) -> list[str]:
    """Devices (of one server, or of all) whose name has the length at which Asterisk cuts longer ones."""
    keys = [key for key, state in view.states.items() if not state.tombstone and eid in (None, key.eid)]
    return sorted({key.key for key in keys if not kind_of(key.type).is_counted and is_probably_cut(key.key)})
