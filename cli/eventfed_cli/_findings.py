"""What the doctor found."""

import enum
from dataclasses import dataclass

__all__ = ["Finding", "Verdict", "not_checked", "ok", "problem"]


class Verdict(enum.StrEnum):
    """How one check ended."""

    OK = "ok"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One check of one thing (``nats``, a member's name): what was seen, and what to change."""

    subject: str
    check: str
    verdict: Verdict
    detail: str
    change: str = ""


def ok(subject: str, check: str, detail: str) -> Finding:
    return Finding(subject, check, Verdict.OK, detail)


def problem(subject: str, check: str, detail: str, change: str) -> Finding:
    return Finding(subject, check, Verdict.PROBLEM, detail, change)


def not_checked(subject: str, check: str, why: str, change: str = "") -> Finding:
    return Finding(subject, check, Verdict.NOT_CHECKED, why, change)
