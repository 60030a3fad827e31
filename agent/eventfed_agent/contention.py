"""Devices that several servers claim to provide."""

from collections import Counter

from eventfed import Merge, StateKey, View, kind_of
from eventfed.model.device_kinds import is_set_by_hand

__all__ = ["contended_names"]


def contended_names(view: View) -> list[str]:
    """Devices set by hand that two servers announce: a foreign NOT_INUSE cannot beat a local INUSE there."""
    names = Counter(key.key for key, state in view.states.items() if _is_provided(key) and not state.tombstone)
    return sorted(name for name, count in names.items() if count > 1)


def _is_provided(key: StateKey) -> bool:
    return kind_of(key.type).merge is Merge.PER_SERVER and is_set_by_hand(key.key)
