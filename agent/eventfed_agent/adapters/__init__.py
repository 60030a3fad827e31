"""Adapters: how an agent talks to one Asterisk server."""

from ._interface import Adapter, AdapterOutcome, Delivery, Tokens
from ._pjsip import PjsipAdapter, answers

__all__ = ["Adapter", "AdapterOutcome", "Delivery", "PjsipAdapter", "Tokens", "answers"]
