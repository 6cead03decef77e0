"""A worker: the process that accepts connections and moves their bytes.

The supervisor starts it, gives it sockets and tells it what to do, all through one channel. Signals
from outside are not for it: a terminal's ^C, for one, goes to every process of the group, but the
supervisor alone decides what comes of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from socket import socket

from tcplb.control.build import build_engine, build_pool
from tcplb.control.channel import Channel, send_at_once
from tcplb.control.claims import SharedOccupancy, SharedSeats
from tcplb.control.complaints import Complaints
from tcplb.control.inherited import DEAF_TO, Inherited
from tcplb.control.logs import Logs
from tcplb.control.messages import (
    Drain,
    Draining,
    Ended,
    Failed,
    Force,
    HandBack,
    Listen,
    Message,
    Ready,
    ReopenLogs,
    Verdict,
)
from tcplb.control.plan import ListenerPlan, Plan, PoolPlan, read_plan
from tcplb.control.process import first_of, new_event_loop, occupy_standard_descriptors
from tcplb.control.scoreboard import PUBLISH_INTERVAL, Scoreboard
from tcplb.control.shared_rate import SharedRate
from tcplb.control.turns import Turns
from tcplb.dataplane.admission import Admission
from tcplb.dataplane.counters import BackendCounters, Counters
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.health_log import log_transition
from tcplb.dataplane.listener import Listener
from tcplb.dataplane.plane import DataPlane
from tcplb.dataplane.queueing import PoolQueue
from tcplb.errors import LogFileError, StrategyError
from tcplb.policy.access_list import AccessList
from tcplb.policy.pool import Pool
from tcplb.policy.rate import ClientRates
from tcplb.policy.transition import Transition

log = logging.getLogger("tcplb.server")


class Worker:
    """Serves what it is given until it is told to drain, or the supervisor is gone."""

    def __init__(self, plan: Plan, slot: int, board: Scoreboard, logs: Logs) -> None:
        self._plan = plan
        self._slot = slot
        self._board = board
        self._logs = logs
        self._counters = Counters()
        self._backend_counters: dict[str, list[BackendCounters]] = {}
        """The totals of each pool's backends; in the order of the scoreboard."""
        self._pools: dict[str, Pool] = {}
        self._frontends: list[Frontend] = []
        self._sets: dict[int, list[Listener]] = {}
        self._drain_timeout: float | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self, channel: socket) -> None:
        """Serve, drain, and tell the supervisor through `channel` how it went."""
        self._plane = self._build()
        # From here on only sessions make objects; what start-up made is never garbage.
        gc.collect()
        gc.freeze()
        # A session leaves no cycles, so there is next to nothing to collect: look less often.
        gc.set_threshold(50_000, 20, 20)
        self._channel = Channel(channel, self._on_message, self._on_supervisor_gone)
        self._publish()
        self._channel.send(Ready())
        await self._stop.wait()
        cut = await self._drain(self._drain_timeout or 0.0)
        self._publish()
        self._channel.send(Ended(cut))

    # -- start-up -----------------------------------------------------------------------------

    def _build(self) -> DataPlane:
        plan = self._plan
        self._pools = {pool.name: self._build_pool(pool) for pool in plan.pools}
        queues = {name: PoolQueue(pool, time.monotonic) for name, pool in self._pools.items()}
        engines = {listener.engine: build_engine(listener.engine) for listener in plan.listeners}
        self._frontends = [
            Frontend(
                name=listener.name,
                pool=self._pools[listener.pool],
                engine=engines[listener.engine],
                timeouts=listener.timeouts,
                counters=self._counters,
                record=self._logs.record,
                health_changed=self._on_health_changed,
                backend_counters=self._backend_counters[listener.pool],
                admission=self._build_admission(number, listener),
                shared_queue=queues[listener.pool],
            )
            for number, listener in enumerate(plan.listeners)
        ]
        total = plan.limits.total
        seats = None if total is None else SharedSeats(self._board.seats(), self._slot, total)
        return DataPlane(engines.values(), plan.limits.each, self._counters, seats)

    def _build_pool(self, plan: PoolPlan) -> Pool:
        number = self._plan.pools.index(plan)
        first = self._plan.first_position(plan)
        # Only the bound of load needs to know how many there are in the whole pool.
        total_of = number if plan.rules.hash_balance_factor else None
        occupancy = SharedOccupancy(self._board, self._slot, first, len(plan.backends), total_of)
        self._backend_counters[plan.name] = [BackendCounters() for _ in plan.backends]
        complaints = Complaints(plan, self._counters, time.monotonic)
        return build_pool(plan, occupancy, complaints.hear)

    def _build_admission(self, number: int, plan: ListenerPlan) -> Admission:
        board, slot, limit = self._board, self._slot, plan.max_connections
        rates = ClientRates(plan.client_rate) if plan.client_rate.rate.per_second else None
        started, base = board.listener_started(number), board.listener_rate_base(number)
        return Admission(
            access=AccessList(plan.access),
            client_rates=rates,
            max_connections=limit,
            seats=SharedSeats(board.listener_seats(number), slot, limit) if limit else None,
            rate=SharedRate(plan.rate, started, base, slot) if plan.rate.per_second else None,
        )

    # -- serving ------------------------------------------------------------------------------

    def _on_message(self, message: Message, descriptor: int | None) -> None:
        match message:
            case Listen(set_number, listener):
                sock = socket(fileno=descriptor)
                listening = self._plane.listen(sock, self._frontends[listener])
                self._sets.setdefault(set_number, []).append(listening)
            case HandBack(set_number):
                for listening in self._sets.pop(set_number, []):
                    listening.hand_back()
            case Verdict(pool, transition):
                self._pools[pool].learn(transition, now=time.monotonic())
            case ReopenLogs():
                self._logs.reopen()
            case Drain(timeout):
                self._begin_drain(timeout)
            case Force():
                self._force.set()
            case _:
                log.error("not a message for a worker: %r", message)

    def _on_health_changed(self, pool: str, transition: Transition) -> None:
        log_transition(pool, transition)
        self._channel.send(Verdict(pool, transition))

    def _publish(self) -> None:
        """Copy the totals to the scoreboard, now and again soon."""
        backends = [each for pool in self._backend_counters.values() for each in pool]
        self._board.publish(self._slot, time.monotonic(), self._counters, backends)
        asyncio.get_running_loop().call_later(PUBLISH_INTERVAL, self._publish)

    # -- the end ------------------------------------------------------------------------------

    def _begin_drain(self, timeout: float) -> None:
        """Accept what waits, once, and say how many sessions are open."""
        if self._drain_timeout is None:
            self._drain_timeout = timeout
            self._plane.stop_listening()
        self._channel.send(Draining(self._plane.open_sessions))
        self._stop.set()

    def _on_supervisor_gone(self) -> None:
        """End in good order: with nobody to replace this worker, it must not keep the port."""
        if self._stop.is_set():
            return
        timeout = self._plan.drain_timeout
        self._begin_drain(timeout)  # first, so that what is said is so already
        log.error(
            "the supervisor is gone: no new connections; the %d open ones have %g s to end",
            self._plane.open_sessions,
            timeout,
        )

    async def _drain(self, timeout: float) -> int:
        """Let the sessions end; return how many had to be cut off."""
        if self._plane.open_sessions:
            await first_of(self._plane.wait_empty(), self._force.wait(), timeout=timeout)
        return await self._plane.close()


def main() -> None:
    """Be the worker that the command line says."""
    _turn_deaf()
    occupy_standard_descriptors()
    given = Inherited.parse(sys.argv[1:])
    # Closed last of all: that tells the supervisor that this process is at its end.
    with socket(fileno=given.channel) as channel:
        try:
            _serve(given, channel)
        except (LogFileError, StrategyError) as error:
            send_at_once(channel, Failed(str(error)))
            sys.exit(1)


def _serve(given: Inherited, channel: socket) -> None:
    plan = read_plan(given.plan)
    os.close(given.plan)
    board = Scoreboard(given.scoreboard, plan.slots, plan.layout)
    board.close()
    logs = Logs(
        plan.log.access,
        plan.log.format,
        plan.log.level,
        turns=Turns(given.turns),
        worker=given.slot + 1 if given.named else None,
    )
    with logs, asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(Worker(plan, given.slot, board, logs).run(channel))


def _turn_deaf() -> None:
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)


if __name__ == "__main__":
    main()
