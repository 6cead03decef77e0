"""The answer of `tcplb plan`, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tcplb.cli.rehearsal import backend_names
from tcplb.control.plan import PoolPlan
from tcplb.loadgen.reports.figures import NOTHING, count, plural
from tcplb.loadgen.reports.text import columns
from tcplb.policy.placement import Comparison

_NOBODY = "(nobody)"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one pool."""

    name: str
    before: PoolPlan
    after: PoolPlan
    weights_before: Mapping[str, float]
    weights_after: Mapping[str, float]
    comparison: Comparison | None
    """None if nothing is tied to a key, before or after."""
    remark: str
    """What has to be said of it beside the figures; may be empty."""


def as_text(
    changes: Sequence[Change], removed: Sequence[str], added: Sequence[str]
) -> Iterator[str]:
    """Yield the lines for a person to read; `removed` and `added` are pools."""
    for index, change in enumerate(changes):
        if index:
            yield ""
        yield from _change_lines(change)
    for name in removed:
        yield f"pool {name} is removed"
    for name in added:
        yield f"pool {name} is added"


def _change_lines(change: Change) -> Iterator[str]:
    yield f"pool {change.name}, strategy {_strategies(change)}"
    comparison = change.comparison
    if comparison is not None:
        yield from _summary(comparison)
    if change.remark:
        yield change.remark
    yield ""
    yield from columns(_share_rows(change))
    if comparison is not None and comparison.moved:
        yield ""
        yield from columns(_move_rows(comparison), left=2)


def _strategies(change: Change) -> str:
    before, after = change.before.strategy.name, change.after.strategy.name
    return before if before == after else f"{before}, then {after}"


def _summary(comparison: Comparison) -> Iterator[str]:
    keys = comparison.keys
    moved, least = comparison.moved / keys, comparison.least / keys
    yield (
        f"{_percent(moved)} ± {_percent(comparison.error(moved))} of the keys move; at least "
        f"{_percent(least)} have to"
    )
    yield (
        f"({plural(keys, 'key')} looked at; with a confidence of 95 %, a share is within "
        f"± {_percent(comparison.error(0.5))} at most)"
    )


def _share_rows(change: Change) -> Iterator[tuple[str, ...]]:
    comparison = change.comparison
    if comparison is None:
        yield "backend", "weight", "", "share", ""
    else:
        yield "backend", "weight", "", "by weight", "", "keys", ""
    for name in _all_backends(change):
        row: tuple[str, ...] = (
            name,
            *_before_after(*_weights(change, name)),
            *_before_after(
                _percent_or_nothing(change.weights_before.get(name)),
                _percent_or_nothing(change.weights_after.get(name)),
            ),
        )
        if comparison is not None:
            row += _before_after(
                _percent(comparison.before.get(name, 0) / comparison.keys),
                _percent(comparison.after.get(name, 0) / comparison.keys),
            )
        yield row


def _before_after(before: str, after: str) -> tuple[str, str]:
    return before, f"→ {after}"


def _weights(change: Change, name: str) -> tuple[str, str]:
    before, after = (
        next((str(one.weight) for one in pool.backends if one.name == name), NOTHING)
        for pool in (change.before, change.after)
    )
    return before, after


def _all_backends(change: Change) -> list[str]:
    return list(dict.fromkeys([*backend_names(change.before), *backend_names(change.after)]))


def _move_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    yield "from", "to", "keys", "of all", "of its own"
    before = comparison.before
    for (source, target), keys in comparison.moves.items():
        yield (
            source or _NOBODY,
            target or _NOBODY,
            count(keys),
            _percent(keys / comparison.keys),
            _percent(keys / before[source]),
        )


def _percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def _percent_or_nothing(share: float | None) -> str:
    return NOTHING if share is None else _percent(share)


def as_json(
    changes: Sequence[Change], removed: Sequence[str], added: Sequence[str]
) -> dict[str, Any]:
    """Return what docs/tools.md describes."""
    return {
        "pools": [_change_as_json(change) for change in changes],
        "removed_pools": list(removed),
        "added_pools": list(added),
    }


def _change_as_json(change: Change) -> dict[str, Any]:
    comparison = change.comparison
    return {
        "pool": change.name,
        "strategy": {
            "before": change.before.strategy.name,
            "after": change.after.strategy.name,
        },
        "keys": None if comparison is None else _keys_as_json(comparison),
        "backends": [_backend_as_json(change, name) for name in _all_backends(change)],
        "moves": None if comparison is None else _moves_as_json(comparison),
        "remark": change.remark or None,
    }


def _keys_as_json(comparison: Comparison) -> dict[str, float]:
    keys = comparison.keys
    moved = comparison.moved / keys
    return {
        "looked_at": keys,
        "moved": moved,
        "moved_error": comparison.error(moved),
        "least": comparison.least / keys,
    }


def _backend_as_json(change: Change, name: str) -> dict[str, Any]:
    comparison = change.comparison
    keys = None
    if comparison is not None:
        keys = {
            "before": comparison.before.get(name, 0) / comparison.keys,
            "after": comparison.after.get(name, 0) / comparison.keys,
        }
    return {
        "backend": name,
        "weight_share": {
            "before": change.weights_before.get(name),
            "after": change.weights_after.get(name),
        },
        "key_share": keys,
    }


def _moves_as_json(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"from": source, "to": target, "share": keys / comparison.keys}
        for (source, target), keys in comparison.moves.items()
    ]
