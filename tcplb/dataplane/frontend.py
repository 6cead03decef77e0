"""What all sessions of one listener share."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tcplb.dataplane.admission import Admission
from tcplb.dataplane.counters import Counters, RouteCounters
from tcplb.dataplane.engine import Engine, Timeouts
from tcplb.dataplane.health_log import log_transition
from tcplb.dataplane.queueing import PoolQueue
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.record import RecordSink
from tcplb.policy.names import HashKey
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Transition


@dataclass(slots=True, eq=False)
class Frontend:
    """What all sessions of one listener share."""

    name: str
    pool: Pool
    engine: Engine
    timeouts: Timeouts
    counters: Counters
    record: RecordSink | None
    """Where a session's record goes at its end, if anywhere."""
    health_changed: Callable[[str, Transition], None] = log_transition
    """Hears of each change in what is thought of a backend, with the name of its pool."""
    routes: Mapping[int, RouteCounters] = field(default_factory=lambda: defaultdict(RouteCounters))
    """What is counted of its sessions with each backend, by the backend's position."""
    unrouted: RouteCounters = field(default_factory=RouteCounters)
    """The same of those that never got a backend."""
    admission: Admission = field(default_factory=Admission)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    active: int = 0
    """Its sessions that are open."""
    trials: int = 0
    """Its dials on trial that are under way: these may outlive their sessions."""
    before: Frontend | None = None
    """The one that it has replaced, as long as sessions of that are open."""
    shared_queue: PoolQueue | None = None
    """That of the pool, if several listeners share it."""
    queue: PoolQueue = field(init=False)
    quiet_timers: QuietTimers = field(init=False)
    by_destination: bool = field(init=False)
    """Whether the key is the address that the client has connected to."""
    listens: bool = field(init=False)
    """Whether the pool wants to know when a backend sends its first byte."""

    def __post_init__(self) -> None:
        """Make the timers, which are those of the running loop, and what was not given."""
        loop = asyncio.get_running_loop()
        self.quiet_timers = QuietTimers(loop, self.timeouts.idle, self.timeouts.half_close)
        self.queue = self.shared_queue or PoolQueue(self.pool, self.clock)
        self.refresh()

    def refresh(self) -> None:
        """Look at the pool's rules again."""
        rules = self.pool.rules
        self.by_destination = self.pool.keyed and rules.key_rule.key is HashKey.DESTINATION
        self.listens = self.pool.measures or rules.eject.first_byte

    @property
    def in_use(self) -> bool:
        """Whether anything is left that counts for it."""
        return bool(self.active or self.trials)

    @property
    def all_active(self) -> int:
        """The open sessions of this listener, from before it was changed too."""
        active, before = self.active, self.before
        while before is not None:
            active, before = active + before.active, before.before
        return active

    def drop_ended(self) -> None:
        """Let go of those before that have no session any more."""
        last, before = self, self.before
        while before is not None:
            if before.active:
                last.before = before
                last = before
            before = before.before
        last.before = None
