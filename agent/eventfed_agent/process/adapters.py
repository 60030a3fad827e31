"""The adapters that this agent brings."""

from collections.abc import Mapping

from ..adapter import OpenFactory
from ..pjsip.switchboard import Switchboard

__all__ = ["ADAPTERS"]

ADAPTERS: Mapping[str, OpenFactory] = {"pjsip": Switchboard}
