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
from collections import deque
from collections.abc import Coroutine
from socket import socket

from tcplb.control.answering import answer, close_slowly
from tcplb.control.channel import Channel, send_at_once
from tcplb.control.claims import SharedSeats
from tcplb.control.inherited import DEAF_TO, Inherited
from tcplb.control.inquiries import CloseBackend
from tcplb.control.logs import Logs
from tcplb.control.messages import (
    Answered,
    Ask,
    Drain,
    Draining,
    Ended,
    Failed,
    Force,
    HandBack,
    Listen,
    Message,
    OpenTap,
    Ready,
    Reload,
    Reloaded,
    ReopenLogs,
    Unused,
    Verdict,
)
from tcplb.control.plan import Limits, Plan, address_of, read_plan
from tcplb.control.process import first_of, new_event_loop, occupy_standard_descriptors
from tcplb.control.scoreboard import PUBLISH_INTERVAL, Scoreboard
from tcplb.control.service import Service
from tcplb.control.tap import Tap
from tcplb.control.turns import Turns
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.health_log import log_transition
from tcplb.dataplane.listener import Listener
from tcplb.dataplane.plane import DataPlane
from tcplb.errors import LogFileError, StrategyError
from tcplb.policy.transition import Mode, Transition

_AT_A_TIME = 0.002
"""Seconds for which sessions may wait while another plan is prepared."""

log = logging.getLogger("tcplb.server")


class Worker:
    """Serves what it is given until it is told to drain, or the supervisor is gone."""

    def __init__(self, plan: Plan, slot: int, board: Scoreboard, logs: Logs) -> None:
        self._plan = plan
        self._slot = slot
        self._board = board
        self._logs = logs
        self._counters = Counters()
        self._listening: dict[tuple[int, int], Listener] = {}
        """By set and address."""
        self._tap = Tap(logs.record, self._tell)
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox: deque[tuple[Message, int | None]] = deque()
        self._preparing = False
        """Whether another plan is about to be gone by."""
        self._drain_timeout: float | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self, channel: socket) -> None:
        """Serve, drain, and tell the supervisor through `channel` how it went."""
        self._service = Service(
            self._board, self._slot, self._counters, self._logs.record, self._on_health_changed
        )
        self._service.apply(self._plan)
        limits = self._plan.limits
        self._plane = DataPlane(
            self._service.engines.values(), limits.each, self._counters, self._seats(limits)
        )
        # From here on only sessions make objects; what start-up made is never garbage.
        gc.collect()
        gc.freeze()
        # A session leaves no cycles, so there is next to nothing to collect: look less often.
        gc.set_threshold(50_000, 20, 20)
        self._channel = Channel(channel, self._on_message, self._on_supervisor_gone)
        self._publish(time.monotonic())
        self._channel.send(Ready())
        await self._stop.wait()
        cut = await self._drain(self._drain_timeout or 0.0)
        self._publish(time.monotonic())
        self._channel.send(Ended(cut))

    def _tell(self, message: Message) -> None:
        self._channel.send(message)

    def _seats(self, limits: Limits) -> SharedSeats | None:
        if limits.total is None:
            return None
        return SharedSeats(self._board.seats(), self._slot, limits.total)

    # -- serving ------------------------------------------------------------------------------

    def _on_message(self, message: Message, descriptor: int | None) -> None:
        self._inbox.append((message, descriptor))
        self._read_inbox()

    def _read_inbox(self) -> None:
        """Do what the supervisor says, in order: what comes after another plan goes by it."""
        while self._inbox and not self._preparing:
            self._obey(*self._inbox.popleft())

    def _obey(  # noqa: C901 - a table, one line a message
        self, message: Message, descriptor: int | None
    ) -> None:
        match message:
            case Listen(set_number, address):
                self._listen(set_number, address, socket(fileno=descriptor))
            case HandBack(set_number):
                self._hand_back(set_number)
            case Reload(plan):
                self._preparing = True
                self._start(self._prepare_and_reload(plan), "reload")
            case Ask():
                self._start(self._answer(message), "answer")
            case OpenTap(filters):
                self._tap.open(filters)
                self._service.write_records_to(self._tap.sink)
            case Verdict(pool, transition):
                self._learn(pool, transition)
            case ReopenLogs():
                self._logs.reopen()
            case Drain(timeout):
                self._begin_drain(timeout)
            case Force():
                self._force.set()
            case _:
                log.error("not a message for a worker: %r", message)

    def _listen(self, set_number: int, address: int, sock: socket) -> None:
        frontend = self._service.frontend(address)
        if frontend is None:  # another reload was faster
            sock.close()
            return
        self._listening[set_number, address] = self._plane.listen(sock, frontend)

    def _hand_back(self, set_number: int) -> None:
        for key in [key for key in self._listening if key[0] == set_number]:
            self._plane.hand_back(self._listening.pop(key))

    def _learn(self, pool_name: str, transition: Transition) -> None:
        pool = self._service.pool(pool_name)
        if pool is not None:
            pool.learn(transition, now=time.monotonic())

    async def _prepare_and_reload(self, plan: Plan) -> None:
        try:
            await self._prepare(plan)
            self._reload(plan)
        except Exception:
            log.exception("internal error in a reload; serving goes on")
        self._preparing = False
        self._read_inbox()

    async def _prepare(self, plan: Plan) -> None:
        """Make what takes long, and let the sessions have their turn every now and then."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in self._service.prepare(plan):
            if loop.time() - began > _AT_A_TIME:
                await asyncio.sleep(0)
                began = loop.time()

    def _reload(self, plan: Plan) -> None:
        """Go by another plan, or say why that is not possible and go on as before."""
        try:
            self._service.apply(plan)
        except StrategyError as error:
            self._channel.send(Reloaded(plan.generation, str(error)))
            return
        if plan.log.level != self._plan.log.level:
            self._logs.set_level(plan.log.level)
        self._plan = plan
        self._plane.keep(self._service.frontends, plan.limits.each, self._seats(plan.limits))
        for key, listener in tuple(self._listening.items()):
            frontend = self._service.frontend(key[1])
            if frontend is not None:
                self._plane.move(listener, frontend)
            else:
                self._plane.close(self._listening.pop(key))
        self._channel.send(Reloaded(plan.generation, leaving=self._service.leaving()))

    async def _answer(self, ask: Ask) -> None:
        sessions = self._plane.sessions
        self._channel.send(Answered(ask.number, await answer(ask.question, sessions)))
        if isinstance(ask.question, CloseBackend):
            pool, backend = ask.question.pool, ask.question.backend
            await close_slowly(ask.question, sessions, lambda: not self._enabled(pool, backend))

    def _enabled(self, pool_name: str, backend: str) -> bool:
        """Whether a backend is there to be used: perhaps again, since it was drained."""
        return any(
            place.name == backend and mode is Mode.ENABLED
            for pool in self._plan.pools
            if pool.name == pool_name
            for place, mode in zip(pool.backends, pool.modes, strict=True)
        )

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_health_changed(self, pool: str, transition: Transition) -> None:
        log_transition(pool, transition)
        address = address_of(self._plan, pool, transition.backend)
        self._channel.send(Verdict(pool, transition, address))

    def _publish(self, due: float) -> None:
        """Copy the totals to the scoreboard, now and again soon. It should be `due` now."""
        now = time.monotonic()
        self._board.publish(self._slot, now, self._counters, self._service.active())
        self._board.set_lag(self._slot, now - due)
        unused = self._service.take_unused()
        if unused:
            self._channel.send(Unused(self._plan.generation, unused))
        loop = asyncio.get_running_loop()
        loop.call_later(PUBLISH_INTERVAL, self._publish, now + PUBLISH_INTERVAL)

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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return await self._plane.shut_down()


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
