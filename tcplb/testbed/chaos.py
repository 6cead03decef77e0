"""Kills and restarts backends while a load runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tcplb.loadgen.result import Chaos, ChaosEvent
from tcplb.testbed.backends import Backends
from tcplb.testbed.log_lines import Event, SessionLine
from tcplb.testbed.outages import Sightings

OUTAGE_TIME = 8.0
"""Seconds that one outage takes, with what comes before the kill and after the return."""

_KILL = 0.15
_RESTART = 0.5
"""When it happens within an outage's time, as parts of `OUTAGE_TIME`: 1.2 s and 4 s.

The first ejection lasts 5 s, give or take 10 %, and the trial after it must meet a backend that
listens: so it is down for 2.8 s, and back at 1.2 s + 5.5 s at the latest, if there is traffic.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is to be done to a backend."""

    at: float
    """Seconds since counting began."""
    action: str
    """``kill`` or ``restart``."""
    backend: str


def schedule(backends: Sequence[str], duration: float, *, seed: int) -> list[Step]:
    """Return what to do to `backends` in a run of `duration` seconds.

    One backend at a time is killed, and restarted after 2.8 s. There are as many outages as fit, of
    8 s each (see `OUTAGE_TIME`), evenly spread over the run; in a shorter run there is one, in
    proportion, and the backend may be back only after it. Each backend has its turn before one has
    a second, in an order that depends on `seed`; never the same twice in a row. With fewer than two
    backends there would be none left, so nothing is done.
    """
    if len(backends) < 2 or duration <= 0:
        return []
    outages = max(1, int(duration // OUTAGE_TIME))
    period = duration / outages
    unit = min(period, OUTAGE_TIME)
    steps: list[Step] = []
    for number, backend in enumerate(_turns(backends, outages, Random(seed))):
        begin = number * period
        steps.append(Step(begin + _KILL * unit, "kill", backend))
        steps.append(Step(begin + _RESTART * unit, "restart", backend))
    return steps


def _turns(backends: Sequence[str], number: int, rng: Random) -> list[str]:
    turns: list[str] = []
    while len(turns) < number:
        order = rng.sample(list(backends), len(backends))
        if turns and order[0] == turns[-1]:
            order.append(order.pop(0))
        turns += order
    return turns[:number]


class ChaosRun:
    """Takes the steps of a schedule at their times, and observes what comes of them."""

    def __init__(
        self,
        backends: Backends,
        steps: Sequence[Step],
        *,
        on_step: Callable[[ChaosEvent], None] | None = None,
    ) -> None:
        """Prepare it; `on_step` hears of each kill and restart when it is done."""
        self._backends = backends
        self._steps = tuple(steps)
        self._on_step = on_step
        self._seen = Sightings()

    def event(self, event: Event) -> None:
        """Take note of a line of the balancer's log; for `Balancer(on_event=...)`."""
        self._seen.event(event)

    def session(self, line: SessionLine) -> None:
        """Take note of a session that has ended; for `Balancer(on_session=...)`."""
        self._seen.session(line)

    async def run(self, began: float) -> None:
        """Take the steps; counting began at `began`, a `time.monotonic()`.

        Raises BedError if a backend cannot be restarted.
        """
        for step in self._steps:
            await asyncio.sleep(began + step.at - time.monotonic())
            if step.action == "kill":
                await self._kill(step.backend, began)
            else:
                await self._restart(step.backend, began)

    def result(self, began: float, errors: Mapping[int, int]) -> Chaos:
        """Return what came of it; `errors` are those that clients saw, by number of the second.

        Call it when the balancer has ended: until then some sessions are not in its log.
        """
        return self._seen.chaos(began, errors)

    async def _kill(self, backend: str, began: float) -> None:
        text = f"killed {backend} (pid {self._backends.pid(backend)})"
        at = time.monotonic()
        self._seen.killed(backend, at, text)
        await self._backends.kill(backend)
        self._tell(ChaosEvent(at - began, "killed", backend, text))

    async def _restart(self, backend: str, began: float) -> None:
        begun = time.monotonic()
        await self._backends.revive(backend)
        at = time.monotonic()
        text = f"restarted {backend} (pid {self._backends.pid(backend)})"
        self._seen.restarted(backend, begun, at, text)
        self._tell(ChaosEvent(at - began, "restarted", backend, text))

    def _tell(self, event: ChaosEvent) -> None:
        if self._on_step is not None:
            self._on_step(event)
