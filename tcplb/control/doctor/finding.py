"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "cannot tell"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what is, and what to do about it."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    what: str
    """What is, in a sentence without a full stop."""
    todo: str = ""
    """What to do about it: a command, or words. Empty if there is nothing to do."""


def ok(check: str, what: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, what)


def unknown(check: str, why: str, todo: str = "") -> Finding:
    """Return that it cannot be told, and why."""
    return Finding(check, Level.UNKNOWN, why, todo)


def warning(check: str, what: str, todo: str) -> Finding:
    """Return what may go wrong one day, or go better."""
    return Finding(check, Level.WARNING, what, todo)


def problem(check: str, what: str, todo: str) -> Finding:
    """Return what keeps tcplb from doing what the config says."""
    return Finding(check, Level.PROBLEM, what, todo)
