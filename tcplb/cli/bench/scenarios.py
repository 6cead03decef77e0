"""What `tcplb bench` does without a target: the half-minute answer to "how fast is this here?"."""

from __future__ import annotations

from dataclasses import replace

from tcplb.cli.bench.jobs import Flags
from tcplb.loadgen.job import Job, Mode, Target

SECONDS = 4.0
"""Of each scenario."""
WARMUP = 0.5
"""Seconds before each that do not count."""
CHAOS_SECONDS = 24.0
"""Room for three outages."""
CHAOS_RATE = 500.0
SOURCES = 16
"""A client's port is taken for a while after it has closed; on one address they run out."""

_LATER = "(a balancer of our own)"
_HTTP = Target(_LATER, "127.0.0.1", 1, path="/")
_RAW = Target(_LATER, "127.0.0.1", 1)
_OVER_TCP = (Mode.ECHO, Mode.BULK)
_SET = (Mode.CONNECT, Mode.REQUEST, Mode.ECHO, Mode.BULK)


def scenarios(flags: Flags) -> list[tuple[str, Job]]:
    """Return the jobs by name, to be aimed at a balancer yet: the mode given, or a set of modes.

    Raises UsageError.
    """
    modes = _SET if flags.mode is None else (flags.mode,)
    return [(mode.value, _job(replace(flags, mode=mode))) for mode in modes]


def chaos(flags: Flags) -> Job:
    """Return the job for the walk through failures: connections at a constant rate.

    Raises UsageError.
    """
    mode = flags.mode or Mode.CONNECT
    rate = flags.rate
    if rate is None and mode is Mode.CONNECT and flags.connections is None:
        rate = CHAOS_RATE
    flags = replace(flags, mode=mode, rate=rate, duration=flags.duration or CHAOS_SECONDS)
    return _job(flags)


def _job(flags: Flags) -> Job:
    target = _RAW if flags.mode in _OVER_TCP else _HTTP
    if flags.sources == 1:
        flags = replace(flags, sources=SOURCES)
    return flags.job(target, duration=SECONDS, warmup=WARMUP)
