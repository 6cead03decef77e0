"""The answer of `tcplb simulate`, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tcplb.control.replay.log import Log
from tcplb.control.replay.result import Result
from tcplb.loadgen.reports.figures import NOTHING, count, plural, printable, seconds, time
from tcplb.loadgen.reports.text import columns

_LONGEST_NAME = 40
_LONGEST_REASON = 200


def as_text(log: Log, results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines for a person to read."""
    yield from _head(log, results[0])
    yield ""
    yield from columns(_result_rows(results))
    logged = Counter(one.backend for one in log.arrivals)
    for result in results:
        yield ""
        yield f"strategy {result.strategy}"
        yield from columns(_backend_rows(result, logged))
        yield from _result_notes(result)


def _head(log: Log, result: Result) -> Iterator[str]:
    yield (
        f"{plural(len(log.arrivals), 'connection')} in {seconds(result.seconds)}, "
        f"{plural(len(log.backends), 'backend')} in the log"
    )
    if log.bad_lines:
        yield f"{plural(log.bad_lines, 'bad line')} left out; the first is {reason(log)}"
    if log.unplaced:
        yield f"{count(log.unplaced)} left out: they ended before a backend was to be chosen"
    if log.turned_away:
        yield (
            f"{count(log.turned_away)} of them met no backend then; they are replayed with what "
            "little time they had"
        )
    if log.without_key:
        yield f"{count(log.without_key)} without a key: the client's address stands in for it"


def _result_rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    yield (
        "strategy",
        "max/mean",
        "of active",
        "keys moved",
        "waited",
        "mean wait",
        "p99 wait",
        "max wait",
        "timed out",
        "refused",
    )
    for result in results:
        waits = result.waits
        yield (
            result.strategy,
            _figure(result.imbalance),
            _figure(result.active_imbalance),
            _moved(result),
            count(waits.waited),
            *(
                time(value * 1000 if waits.waited else None)
                for value in (waits.mean, waits.p99, waits.longest)
            ),
            count(waits.timed_out),
            count(waits.refused),
        )


def _figure(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _moved(result: Result) -> str:
    moves = result.moves
    return NOTHING if moves is None or not moves.keys else _percent(moves.moved / moves.keys)


def _backend_rows(result: Result, logged: Mapping[str | None, int]) -> Iterator[tuple[str, ...]]:
    yield "backend", "in the log", "connections", "share", "by weight", "peak", "mean active"
    for load in result.backends:
        yield (
            printable(load.name, _LONGEST_NAME),
            count(logged.get(load.name, 0)),
            count(load.connections),
            _percent(load.share),
            _percent(load.weight_share),
            count(load.peak),
            f"{load.mean_active:,.2f}",
        )


def _percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def _result_notes(result: Result) -> Iterator[str]:
    if result.moves is not None:
        yield f"{count(result.moves.moved)} of {plural(result.moves.keys, 'key')} moved"
    if result.without_backend:
        yield f"{count(result.without_backend)} met no backend that takes connections"
    if result.complaints:
        yield (
            f"the function failed {count(result.complaints)} times, first because it "
            f"{printable(result.complaint, _LONGEST_REASON)}"
        )


def as_json(log: Log, results: Sequence[Result]) -> dict[str, Any]:
    """Return what docs/tools.md describes."""
    return {
        "log": {
            "connections": len(log.arrivals),
            "bad_lines": log.bad_lines,
            "first_bad_line": log.first_bad or None,
            "ended_before_choice": log.unplaced,
            "turned_away": log.turned_away,
            "without_key": log.without_key,
            "backends": dict(
                sorted(Counter(one.backend for one in log.arrivals if one.backend).items())
            ),
        },
        "strategies": [_result_as_json(result) for result in results],
    }


def _result_as_json(result: Result) -> dict[str, Any]:
    return {
        "strategy": result.strategy,
        "connections": result.connections,
        "seconds": result.seconds,
        "imbalance": result.imbalance,
        "active_imbalance": result.active_imbalance,
        "keys": asdict(result.moves) if result.moves else None,
        "queue": {
            "waited": result.waits.waited,
            "mean_seconds": result.waits.mean,
            "p99_seconds": result.waits.p99,
            "max_seconds": result.waits.longest,
            "timed_out": result.waits.timed_out,
            "refused": result.waits.refused,
        },
        "without_backend": result.without_backend,
        "failures": result.complaints,
        "first_failure": result.complaint or None,
        "backends": [asdict(load) for load in result.backends],
    }


def reason(log: Log) -> str:
    """Return what is wrong with the first bad line."""
    return printable(log.first_bad, _LONGEST_REASON)


def names_in_words(names: Iterable[str]) -> str:
    """Return names from a log, fit to be shown."""
    return ", ".join(printable(name, _LONGEST_NAME) for name in sorted(names))
