"""Active checks of all backends: who is checked when, and who is told of it.

It runs in the supervisor, so there is one check a backend, however many workers there are, and a
busy worker makes no check late. Each backend has a task of its own, which waits, checks and tells.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from random import Random

from tcplb.config.models import BackendConfig, CheckConfig, PoolConfig
from tcplb.control.checks import Check
from tcplb.policy.backend import Backend
from tcplb.policy.checks import CheckTracker, first_delay, next_delay
from tcplb.policy.transition import Checked, Transition

MAX_UNDER_WAY = 100
"""Checks that are under way at once; more wait, which is not part of their time."""
QUIET = 60.0
"""Seconds between two warnings that we ourselves lack something for a check."""

Changed = Callable[[str, Transition], None]
"""Told of a pool's backend that went down or came up."""
Passed = Callable[[str, str, float], None]
"""Told of each check that passed: pool, backend, and when the check began."""

log = logging.getLogger("tcplb.checks")


class _Watched:
    """One backend that is checked, and its task while there is one."""

    def __init__(self, pool: str, check: CheckConfig, backend: BackendConfig) -> None:
        self.pool = pool
        self.check = check
        self.name = backend.name
        self.address = backend.address
        port = backend.check_port or check.port or backend.port
        self.target = Backend(backend.name, backend.host, port)
        self.tracker = CheckTracker(backend.name, check.fall, check.rise)
        self.paused = backend.state == "disabled"
        self.task: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"{self.pool}/{self.name}"

    def take_over(self, old: _Watched | None) -> None:
        """Go on with what has been found, if it was found of the same backend."""
        if old is not None and old.address == self.address:
            self.tracker = old.tracker
            self.tracker.follow(self.check.fall, self.check.rise)


def _watched(pools: Mapping[str, PoolConfig]) -> dict[tuple[str, str], _Watched]:
    return {
        (name, backend.name): _Watched(name, pool.check, backend)
        for name, pool in pools.items()
        if pool.check is not None
        for backend in pool.backends
    }


def _same(old: _Watched | None, new: _Watched) -> _Watched | None:
    """Return `old` if it checks in the same way what `new` does."""
    if old is None or old.address != new.address:
        return None
    return old if (old.check, old.target) == (new.check, new.target) else None


def _has(pools: Mapping[str, PoolConfig], key: tuple[str, str], address: str) -> bool:
    pool = pools.get(key[0])
    members = () if pool is None else pool.backends
    return any((each.name, each.address) == (key[1], address) for each in members)


class Prober:
    """Checks every backend of the pools that have a `check`, from `start` to `close`."""

    def __init__(
        self,
        pools: Mapping[str, PoolConfig],
        changed: Changed,
        passed: Passed,
        *,
        rng: Random,
        clock: Callable[[], float] = time.monotonic,
        prepare: Callable[[CheckConfig, Backend], Check] = Check,
    ) -> None:
        """Prepare the checks, each of which `prepare` makes.

        `changed` comes before `passed` where one check causes both.
        """
        self._changed = changed
        self._passed = passed
        self._rng = rng
        self._clock = clock
        self._prepare = prepare
        self._watched = _watched(pools)
        self._under_way = asyncio.Semaphore(MAX_UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self._warn_at = float("-inf")

    def start(self) -> None:
        """Begin: the first check of each backend is somewhere within its first interval."""
        self._started = True
        for watched in self._watched.values():
            self._begin(watched)

    def update(self, pools: Mapping[str, PoolConfig]) -> None:
        """Check the backends of other pools from now on, in whatever way they say.

        What the checks have found of a backend stays as long as it has its name and address. One
        that was down and is checked no more is up.
        """
        before, wanted = self._watched, _watched(pools)
        self._watched = {key: _same(before.get(key), new) or new for key, new in wanted.items()}
        for key, old in before.items():
            if self._watched.get(key) is not old:
                self._stop(old)
                if key not in self._watched and _has(pools, key, old.address):
                    self._give_up(old)
        for key, watched in self._watched.items():
            if watched is before.get(key):
                self._pause_or_resume(*key, paused=wanted[key].paused)
            else:
                watched.take_over(before.get(key))
                self._begin(watched)

    def _pause_or_resume(self, pool: str, backend: str, *, paused: bool) -> None:
        if paused:
            self.pause(pool, backend)
        else:
            self.resume(pool, backend)

    def _begin(self, watched: _Watched) -> None:
        if self._started and not watched.paused:
            self._launch(watched, first_delay(watched.check.interval, self._rng))

    def _give_up(self, watched: _Watched) -> None:
        """Say that a backend is up which was down and is not checked any more."""
        if watched.tracker.state is Checked.DOWN:
            reason = "is up, as far as anybody knows: it is not checked any more"
            news = Transition(watched.name, Checked.UP, reason, at=self._clock())
            self._changed(watched.pool, news)

    def pause(self, pool: str, backend: str) -> None:
        """Check a backend no more; one under way is given up. One that is not checked is ignored.

        What is thought of the backend stays, and what its last checks count for.
        """
        watched = self._watched.get((pool, backend))
        if watched is None:
            return
        watched.paused = True
        self._stop(watched)

    def resume(self, pool: str, backend: str) -> None:
        """Check a backend again, at first within a fast interval, if it is one to be checked."""
        watched = self._watched.get((pool, backend))
        if watched is None or not watched.paused:
            return
        watched.paused = False
        if self._started:
            soon = min(watched.check.fast_interval, watched.check.interval)
            self._launch(watched, first_delay(soon, self._rng))

    async def close(self) -> None:
        """Give up all checks, and wait until their connections are closed."""
        self._started = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one backend --------------------------------------------------------------------------

    def _stop(self, watched: _Watched) -> None:
        if watched.task is not None:
            watched.task.cancel()
            watched.task = None

    def _launch(self, watched: _Watched, delay: float) -> None:
        watched.task = asyncio.create_task(self._watch(watched, delay), name=f"check {watched}")
        self._tasks.add(watched.task)
        watched.task.add_done_callback(self._tasks.discard)

    async def _watch(self, watched: _Watched, delay: float) -> None:
        """Check one backend again and again. The next check never begins before the last ended."""
        due = self._clock() + delay
        while True:
            await asyncio.sleep(max(0.0, due - self._clock()))
            due = self._next(watched, self._clock())  # if what follows fails
            try:
                due = await self._check(watched)
            except Exception:
                log.exception("the check of %s could not be done", watched)

    async def _check(self, watched: _Watched) -> float:
        """Check once and tell of the result; return when the next check is due."""
        with closing(self._prepare(watched.check, watched.target)) as check:
            async with self._under_way:
                began = self._clock()
                try:
                    result = await check.run()
                except OSError as error:
                    self._no_verdict(watched, error)
                    return self._next(watched, began)
            self._judge(watched, result.passed, result.reason, began)
            due = self._next(watched, began)
            await check.farewell(due - self._clock())
        return due

    def _next(self, watched: _Watched, began: float) -> float:
        """Return when the check after one that began then is due."""
        config, changing = watched.check, watched.tracker.changing
        return began + next_delay(config.interval, config.fast_interval, changing, self._rng)

    def _judge(self, watched: _Watched, passed: bool, reason: str, began: float) -> None:
        if not passed:
            log.debug("the check of %s failed: %s", watched, reason)
        now = self._clock()
        transition = watched.tracker.observe(passed, reason, started_at=began, now=now)
        if transition is not None:
            self._changed(watched.pool, transition)
        if passed:
            self._passed(watched.pool, watched.name, began)

    def _no_verdict(self, watched: _Watched, error: OSError) -> None:
        """Say, not too often, that a check neither passed nor failed."""
        now = self._clock()
        if now < self._warn_at:
            return
        self._warn_at = now + QUIET
        log.warning("%s cannot be checked, for want of our own: %s", watched, error.strerror)
