"""The loop of one process: one edge-triggered epoll, and a script for each client.

No asyncio here: a request costs a few microseconds, most of them the kernel's, and the load must
not be what is measured.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic_ns

from tcplb.loadgen.client import ENDS, TURN, Client, FailedError, NoAnswerError, Script, cause_of
from tcplb.loadgen.job import Job
from tcplb.loadgen.keys import Keys
from tcplb.loadgen.pace import Pace
from tcplb.loadgen.tally import Tally

TICK = 0.25
"""Seconds between reports of what was measured."""
CHORES = 0.01
"""Seconds between looks at what has no event: starts, pauses, ticks."""
SWEEP = 0.05
"""How late it may be noticed that a client has waited too long, as a part of the time-out."""
PAUSE = 0.01
"""Seconds that a client waits after a failure, so that a target that is down is not hammered."""

NEVER_SENT = "never sent: no connection was free in time"

_MANY = 1 << 62


class Loop:
    """Runs the clients of a job until it is over.

    `on_tick` gets the seconds since counting began and what was tallied since the last tick; the
    tally is cleared after it.
    """

    def __init__(self, job: Job, on_tick: Callable[[float, Tally], None]) -> None:
        self.job = job
        self.tally = Tally()
        self.keys = Keys(job, self.tally)
        self.epoll = select.epoll()
        self.scripts: dict[int, Callable[[int], None]] = {}
        """What resumes the script that a descriptor belongs to."""
        self.free: deque[Client] = deque()
        """Clients that wait for their turn, in an open loop."""
        self.holding: set[Client] = set()
        """Clients that do nothing until the end, and then once more something."""
        self.left = _MANY
        """Requests that may still be begun."""
        self.due = 0
        """When the request was due that a client gets its turn for; nanoseconds."""
        self.address = (job.target.address, job.target.port)
        self.family = socket.AF_INET6 if ":" in job.target.address else socket.AF_INET
        self.open_loop = job.rate is not None
        self._pace = Pace.of(job)
        self.folds: list[Callable[[], None]] = []
        """To be called before the tally is handed out, by whoever counts aside."""
        self._on_tick = on_tick
        self._clients: list[Client] = []
        self._alive = 0
        self._paused: list[tuple[int, int, Client]] = []
        self._pauses = 0
        self._starts: deque[int] = deque()
        self._given = 0
        self._stopped = False

    def run(self, life: Callable[[Client], Script], began: int) -> None:
        """Load from `began` (nanoseconds of the monotonic clock) until the job is over.

        Clients live their `life` again and again.
        """
        self._life = life
        self._began = began
        self._counting = began + _ns(self.job.warmup)
        self._end = self._counting + _ns(self.job.duration)
        self._next_tick = self._counting - (_ns(self.job.warmup) - 1) // _ns(TICK) * _ns(TICK)
        self._next_sweep = began
        self._warming_up = True
        self._next_due = began + _ns(self._pace.due(0)) if self.open_loop else 0
        self._starts = self._spread_starts()
        self._go_on(self._end, lambda: self.left > 0 and bool(self._alive or self._starts))
        self._starts.clear()
        self._finish()
        self._hand_out(monotonic_ns())

    def stop(self) -> None:
        """End at once: what is under way is dropped, and what was measured so far is kept."""
        self._stopped = True

    def pause(self, client: Client, seconds: float = PAUSE) -> Script:
        """Let a client wait; it learns if its connection is `ended` meanwhile."""
        client.since = 0
        self._pauses += 1  # of equals, the first comes first; clients have no order
        heappush(self._paused, (monotonic_ns() + _ns(seconds), self._pauses, client))
        while (mask := (yield)) != TURN:
            client.ended = client.ended or bool(mask & ENDS)

    def failed(self, error: FailedError | OSError) -> None:
        """Count a failure."""
        self.tally.failures[cause_of(error)] += 1

    # Going on

    def _go_on(self, end: int, wanted: Callable[[], bool]) -> None:
        """Resume clients until `end`, or until it is not wanted any more."""
        next_chores = now = monotonic_ns()
        while now < end and not self._stopped and wanted():
            if now >= next_chores:
                self._do_chores(now)
                next_chores = now + _ns(CHORES)
            if self.open_loop:
                self._give_turns(now)
            self._tell(self._events(now, min(next_chores, end)))
            now = monotonic_ns()

    def _events(self, now: int, until: int) -> list[tuple[int, int]]:
        if not self.free or not self._turns_left():
            return self.epoll.poll(max(until - now, 0) / 1e9)
        # epoll waits for whole milliseconds; select(2) on the epoll's descriptor for microseconds.
        until = min(until, self._next_due)
        if until > now:
            select.select([self.epoll], [], [], (until - now) / 1e9)
        return self.epoll.poll(0)

    def _tell(self, batch: list[tuple[int, int]]) -> None:
        """Resume the script of each event."""
        scripts, events = self.scripts, iter(batch)
        while True:
            try:
                for fd, mask in events:
                    scripts[fd](mask)
            except StopIteration:
                self._alive -= 1  # that script is over; the rest of the batch is not
            else:
                return

    def _resume(self, client: Client, mask: int) -> None:
        try:
            client.script.send(mask)
        except StopIteration:
            self._alive -= 1

    def _give_turns(self, now: int) -> None:
        """Let free clients do what is due."""
        while self.free and self._next_due <= now and self._turns_left():
            self.due = self._next_due
            self._given += 1
            self._next_due = self._began + _ns(self._pace.due(self._given))
            self._resume(self.free.popleft(), TURN)

    def _turns_left(self) -> bool:
        return self.left > 0 and self._next_due < self._end

    # Chores

    def _do_chores(self, now: int) -> None:
        if now >= self._next_tick:
            self._tick(now)
        if self._warming_up and now >= self._counting:
            self._begin_counting()
        while self._starts and self._starts[0] <= now:
            self._starts.popleft()
            self._start_client()
        while self._paused and self._paused[0][0] <= now:
            self._resume(heappop(self._paused)[2], TURN)
        if now >= self._next_sweep:
            self._next_sweep = now + _ns(max(self.job.timeout * SWEEP, CHORES))
            self._sweep(now)

    def _begin_counting(self) -> None:
        self._warming_up = False
        self.keys.begin_counting()
        if self.job.count is not None:
            self.left = self.job.count

    def _start_client(self) -> None:
        client = Client(self, self._life)
        self._clients.append(client)
        self._alive += 1
        try:
            next(client.script)
        except StopIteration:  # it was over before it had to wait
            self._alive -= 1

    def _spread_starts(self) -> deque[int]:
        """When each client starts: over the ramp in a closed loop, at once in an open one."""
        ramp = 0 if self.open_loop else _ns(self.job.ramp)
        count = self.job.connections
        return deque(self._began + ramp * number // count for number in range(count))

    def _sweep(self, now: int) -> None:
        """Fail what waits for too long, and forget the clients that are over."""
        oldest = now - _ns(self.job.timeout)
        for client in self._clients:
            if 0 < client.since < oldest:
                self._give_up_waiting(client)
        if self._alive < len(self._clients) // 2:
            self._clients = [client for client in self._clients if not client.over]

    def _give_up_waiting(self, client: Client) -> None:
        client.since = 0
        try:
            client.script.throw(NoAnswerError("no answer in time"))
        except StopIteration:
            self._alive -= 1

    def _tick(self, now: int) -> None:
        """Hand out what was tallied until the last full tick."""
        while self._next_tick <= now:
            self._next_tick += _ns(TICK)
        self._hand_out(self._next_tick - _ns(TICK))

    def _hand_out(self, at: int) -> None:
        for fold in self.folds:
            fold()
        self._on_tick((at - self._counting) / 1e9, self.tally)
        self.tally.clear()

    # The end

    def _finish(self) -> None:
        """Let what is under way end, for as long as an answer may take; then say what did not."""
        if not self.open_loop:
            self.left = 0
        for client in list(self.holding):
            self._resume(client, TURN)
        self._go_on(monotonic_ns() + _ns(self.job.timeout), self._goes_on_after_end)
        if self.open_loop and self._turns_left() and not self._stopped:
            self._count_never_sent()
        self.left = 0
        for client in self._clients:
            if client.since and not self._stopped:
                self._give_up_waiting(client)
            client.script.close()

    def _goes_on_after_end(self) -> bool:
        waiting = self._alive - len(self.free) - len(self._paused)
        return waiting > 0 or (self.open_loop and self._turns_left() and self._alive > 0)

    def _count_never_sent(self) -> None:
        """Count what was due after the warm-up and had no turn."""
        before = self._pace.count_before((self._counting - self._began) / 1e9)
        due = self._pace.count_before((self._end - self._began) / 1e9)
        count = min(due - max(before, self._given), self.left)
        if count > 0:
            self.tally.failures[NEVER_SENT] += count


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
