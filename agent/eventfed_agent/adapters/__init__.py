"""Adapters: how an agent talks to one Asterisk server."""

from ._interface import Adapter, AdapterOutcome, Delivery
from ._pjsip import PjsipAdapter, Tokens, answers

__all__ = ["Adapter", "AdapterOutcome", "Delivery", "PjsipAdapter", "Tokens", "answers"]
