"""Does each backend answer, how soon, and is each another one?"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tcplb.config.models import BackendConfig, Config
from tcplb.config.units import format_address, format_duration
from tcplb.control.doctor.finding import Finding, ok, problem, warning
from tcplb.dataplane.dial import connect, outcome_of, resolve
from tcplb.policy.backend import Backend
from tcplb.policy.outcome import Outcome

_AT_ONCE = 64
"""Dials. More would need descriptors that there may not be."""
_PATIENCE = 3.0
"""Seconds, for a backend of a pool that no listener names."""
_SLOW = 0.5
"""The part of the connect time-out after which an answer is late."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Answer:
    finding: Finding
    addresses: tuple[str, ...]
    """What the backend's address resolves to."""


async def check_backends(config: Config, clock: Clock = time.monotonic) -> list[Finding]:
    """Connect to each backend as a session would, and close at once.

    It has the shortest `connect_timeout` of the listeners of its pool. `clock` is in seconds.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(pool: str, backend: BackendConfig) -> _Answer:
        async with turns:
            return await _ask(pool, backend, _patience(config, pool), clock)

    async with asyncio.TaskGroup() as group:
        asked = [
            (pool, backend, group.create_task(ask(pool, backend), name=f"ask {backend.name}"))
            for pool, table in config.pools.items()
            for backend in table.backends
        ]
    findings = [task.result().finding for _, _, task in asked]
    known: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for pool, backend, task in asked:
        for address in task.result().addresses:
            known[pool][address].append(backend.name)
    return findings + [finding for pool in known for finding in _doubles(pool, known[pool])]


def _patience(config: Config, pool: str) -> float:
    timeouts = (one.connect_timeout for one in config.listeners if one.pool == pool)
    return min(timeouts, default=_PATIENCE)


async def _ask(pool: str, config: BackendConfig, patience: float, clock: Clock) -> _Answer:
    check = f"backend {pool}/{config.name}"
    if config.state == "disabled":
        return _Answer(ok(check, "is disabled: not asked"), ())
    addresses: tuple[str, ...] = ()
    began = clock()
    try:
        async with asyncio.timeout(patience):
            targets = await resolve(config.host, config.port)
            found = (format_address(*target.address[:2]) for target in targets)
            addresses = tuple(dict.fromkeys(found))
            sock = await connect(Backend(config.name, config.host, config.port))
    except OSError as error:  # TimeoutError is one
        return _Answer(_no_answer(check, config, error, patience), addresses)
    sock.close()
    return _Answer(_answer(check, config, clock() - began, patience), addresses)


def _answer(check: str, config: BackendConfig, took: float, patience: float) -> Finding:
    what = f"{config.address} answered after {took * 1000:.1f} ms"
    if took > _SLOW * patience:
        late = f"{what}, and connect_timeout is {format_duration(patience)}"
        return warning(check, late, "raise connect_timeout, or see what keeps the backend")
    return ok(check, what)


def _no_answer(check: str, config: BackendConfig, error: OSError, patience: float) -> Finding:
    what = f"{config.address} {_why(error, patience)}"
    advice = _ADVICE.get(outcome_of(error), "see whether the machine and the way to it are up")
    if config.state == "draining":
        return warning(check, f"{what}; it is draining", advice)
    return problem(check, what, advice)


def _why(error: OSError, patience: float) -> str:
    match outcome_of(error):
        case Outcome.UNRESOLVED:
            return f"cannot be resolved: {error.strerror or error}"
        case Outcome.REFUSED:
            return "refuses connections"
        case Outcome.TIMED_OUT:
            return f"does not answer within {format_duration(patience)}"
        case _:
            return f"cannot be reached: {error.strerror or error}"


_ADVICE = {
    Outcome.UNRESOLVED: "mend the name, or the resolver (/etc/resolv.conf)",
    Outcome.REFUSED: "start the server, or mend the port",
    Outcome.TIMED_OUT: "see whether the machine is up and a firewall drops packets",
    Outcome.NO_RESOURCES: "see what this machine is out of, above",
}


def _doubles(pool: str, names_by_address: dict[str, list[str]]) -> Iterator[Finding]:
    for address, names in names_by_address.items():
        if len(names) > 1:
            yield warning(
                f"pool {pool}",
                f"{', '.join(names)} are all {address}: it gets the share of each",
                "keep one of them, with the weight of all",
            )
