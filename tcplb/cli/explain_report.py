"""The answer of `tcplb explain`, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tcplb.config.units import format_address
from tcplb.control.plan import PoolPlan
from tcplb.loadgen.reports.figures import plural, printable
from tcplb.loadgen.reports.text import columns
from tcplb.policy.access_list import AccessRule
from tcplb.policy.explain import Explanation, Key, Stage
from tcplb.policy.names import StrategyName
from tcplb.policy.queue import QueuePolicy

_LONGEST_KEY = 60
"""Characters of a key that are shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Where a connection would go, and all that has led to it."""

    client: str
    listener: str | None
    allowed: bool
    rule: AccessRule | None
    plan: PoolPlan
    keyed: bool
    key: Key
    explanation: Explanation
    notes: tuple[str, ...]


def as_text(answer: Answer) -> Iterator[str]:
    """Yield the lines for a person to read."""
    yield from columns(_facts(answer), left=2)
    yield ""
    yield from columns(_candidate_rows(answer), left=2)
    yield ""
    yield _conclusion(answer)
    yield from (f"Note: {printable(note)}" for note in answer.notes)


def _facts(answer: Answer) -> Iterator[tuple[str, str]]:
    plan = answer.plan
    yield "client", f"{answer.client}, {_access(answer)}"
    yield "pool", f"{plan.name}, strategy {plan.strategy.name}"
    if not answer.keyed:
        yield "key", "does not matter with this strategy"
        return
    key = answer.key
    shown = printable(key.value.decode(errors="backslashreplace"), _LONGEST_KEY)
    yield "key", f'"{shown}", {key.source} (hash_key {plan.rules.key_rule})'
    if plan.strategy.name == StrategyName.RENDEZVOUS:
        yield "xxh64", f"{key.hash}; each backend draws its lot with a seed of its own"
    else:
        yield "xxh64", key.hash


def _access(answer: Answer) -> str:
    if answer.listener is None:
        return "no listener sends to this pool"
    verb = "welcome" if answer.allowed else "REFUSED"
    why = f'by "{answer.rule}"' if answer.rule else "because no access rule matches"
    return f"{verb} at listener {answer.listener} {why}"


def _candidate_rows(answer: Answer) -> Iterator[tuple[str, ...]]:
    yield "backend", "verdict", "tier", "rank", "weight", "active"
    for candidate in answer.explanation.candidates:
        backend = candidate.backend
        limit = f" of {backend.max_connections}" if backend.max_connections else ""
        yield (
            backend.name,
            candidate.verdict.value,
            str(backend.tier),
            str(candidate.rank or "–"),
            str(backend.weight),
            f"{candidate.active}{limit}",
        )


def _conclusion(answer: Answer) -> str:
    explanation = answer.explanation
    refused = "" if answer.allowed else "Refused. If it were not: "
    if explanation.chosen is None:
        full = explanation.stage is Stage.FULL
        ends = _waits(answer.plan.rules.queue) if full else "it is turned away"
        return f"{refused}No backend: {explanation.stage.value}; {ends}."
    chosen = explanation.chosen
    address = format_address(chosen.host, chosen.port)
    name = chosen.name if chosen.name == address else f"{chosen.name} ({address})"
    trial = ", as its trial" if explanation.trial else ""
    if answer.keyed:
        return f"{refused}It goes to {name}{trial}: {explanation.stage.value}."
    return (
        f"{refused}In a process that has just started, it goes to {name}: "
        f"{explanation.stage.value}."
    )


def _waits(queue: QueuePolicy) -> str:
    if not queue.size:
        return "it is turned away (queue.size is 0)"
    return f"it waits in the line of {plural(queue.size, 'place')}, {queue.timeout:g} s at most"


def as_json(answer: Answer) -> dict[str, Any]:
    """Return what docs/tools.md describes."""
    explanation, plan = answer.explanation, answer.plan
    return {
        "client": answer.client,
        "listener": answer.listener,
        "access": {
            "allowed": answer.allowed,
            "rule": str(answer.rule) if answer.rule else None,
        },
        "pool": plan.name,
        "strategy": plan.strategy.name,
        "keyed": answer.keyed,
        "key": _key_as_json(answer) if answer.keyed else None,
        "candidates": [
            {
                "backend": candidate.backend.name,
                "address": format_address(candidate.backend.host, candidate.backend.port),
                "verdict": candidate.verdict.name.lower(),
                "tier": candidate.backend.tier,
                "rank": candidate.rank or None,
                "weight": candidate.backend.weight,
                "active": candidate.active,
                "max_connections": candidate.backend.max_connections or None,
            }
            for candidate in explanation.candidates
        ],
        "chosen": explanation.chosen.name if explanation.chosen else None,
        "stage": explanation.stage.name.lower(),
        "trial": explanation.trial,
        "notes": list(answer.notes),
    }


def _key_as_json(answer: Answer) -> dict[str, str]:
    return {
        "value": answer.key.value.decode(errors="backslashreplace"),
        "source": answer.key.source,
        "hash_key": str(answer.plan.rules.key_rule),
        "xxh64": answer.key.hash,
    }
