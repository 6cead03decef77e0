"""The supervisor: owns the listening sockets, starts the workers, and ends all in good order.

It moves no bytes and sleeps when nothing happens. Signal handlers only record, or tell the crew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from random import Random
from socket import socket

from tcplb import __version__
from tcplb.config.models import Config, ListenerConfig
from tcplb.control.application_log import ApplicationLog
from tcplb.control.build import build_pool
from tcplb.control.crew import Crew
from tcplb.control.limits import connection_limit, processors, worker_slots
from tcplb.control.logs import HeldOpen
from tcplb.control.messages import ReopenLogs, Verdict
from tcplb.control.plan import Limits, Plan, PoolPlan, make_plan
from tcplb.control.prober import Prober
from tcplb.control.process import first_of, new_event_loop, occupy_standard_descriptors
from tcplb.control.scoreboard import Scoreboard
from tcplb.control.sockets import SocketSets, endpoint, open_listening_sockets
from tcplb.control.turns import Turns
from tcplb.control.user_function import load_functions
from tcplb.dataplane.health_log import log_transition
from tcplb.policy.names import names_function
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.transition import State, Transition

log = logging.getLogger("tcplb.server")


class Supervisor:
    """Serves one `Config` until a signal ends it."""

    def __init__(self, config: Config, access_log: HeldOpen, turns: Turns) -> None:
        self._config = config
        self._access_log = access_log
        self._turns = turns
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain. Returns how many sessions had to be cut off.

        Raises BindError if a listener cannot be opened and WorkerError if no worker can be
        started; nothing has been served then.
        """
        workers = _count(self._config)
        sockets = SocketSets(_open_all(self._config.listeners))
        with contextlib.closing(sockets):
            plan = make_plan(self._config, _limits(self._config), worker_slots(workers))
            board = Scoreboard.create(plan.slots, plan.layout)
            for _ in range(1, workers):
                sockets.open_another()
            crew = Crew(plan, sockets, board, self._turns)
            with contextlib.closing(board), contextlib.closing(crew), self._signals(crew):
                await self._start_up(crew, plan, workers, sockets)
                async with self._checks(crew):
                    await self._stop.wait()
                cut = await crew.drain(self._config.limits.drain_timeout, self._force)
                self._report_end(board, cut)
                return cut

    # -- start-up and end ---------------------------------------------------------------------

    async def _start_up(self, crew: Crew, plan: Plan, workers: int, sockets: SocketSets) -> None:
        crew.start(workers)
        _report_limit(plan.limits, workers)
        for pool in plan.pools:
            _report_placement(pool)
        await first_of(crew.started(), self._stop.wait())
        for listener, sock in sockets[0]:
            config = self._config.listeners[listener]
            pool_config = self._config.pools[config.pool]
            log.info(
                "listening on %s: listener %s, pool %s (%s, backends: %d)",
                endpoint(sock),
                config.name,
                config.pool,
                pool_config.strategy,
                len(pool_config.backends),
            )

    def _report_end(self, board: Scoreboard, cut: int) -> None:
        if cut:
            timeout = self._config.limits.drain_timeout
            why = "on a second signal" if self._force.is_set() else f"after {timeout:g} s"
            log.warning("closed %d connections that were still open %s", cut, why)
        counters = board.totals()
        log.info(
            "stopped after %d connections; %d were turned away, accepting paused %d times",
            counters.accepted,
            counters.turned_away,
            counters.pauses,
        )

    # -- active checks ------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _checks(self, crew: Crew) -> AsyncIterator[None]:
        """Check the backends actively, as far as that is wanted, and tell the workers."""

        def changed(pool: str, transition: Transition) -> None:
            log_transition(pool, transition)
            crew.announce(Verdict(pool, transition))

        def passed(pool: str, backend: str, began: float) -> None:
            # Whoever ejected it has not been there for a while; the check has, just now.
            ejection = crew.verdicts.ejected(pool, backend)
            if ejection is not None and ejection.at < began:
                reason = "is back: its check passed"
                changed(pool, Transition(backend, State.IN, reason, at=began))

        prober = Prober(self._config.pools, changed, passed, rng=Random())
        prober.start()
        try:
            yield
        finally:
            await prober.close()

    # -- signals ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self, crew: Crew) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        drain_timeout = self._config.limits.drain_timeout
        actions = {
            signal.SIGTERM: self._on_stop_signal,
            signal.SIGINT: self._on_stop_signal,
            signal.SIGHUP: self._on_reload_signal,
            signal.SIGUSR1: lambda: self._on_reopen_signal(crew),
            signal.SIGTTIN: crew.add,
            signal.SIGTTOU: lambda: crew.remove(drain_timeout),
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        try:
            yield
        finally:
            for number in actions:
                loop.remove_signal_handler(number)

    def _on_reload_signal(self) -> None:
        # Its default action would end every connection, and whoever sends it means the opposite.
        log.warning("SIGHUP: settings cannot be reloaded yet; restart to apply changes")

    def _on_reopen_signal(self, crew: Crew) -> None:
        self._access_log.reopen()
        crew.tell(ReopenLogs())

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()


def _open_all(listeners: tuple[ListenerConfig, ...]) -> list[tuple[int, socket]]:
    """Open every listener's sockets, or none: raises BindError."""
    with contextlib.ExitStack() as opened:
        sockets = [
            (number, opened.enter_context(sock))
            for number, config in enumerate(listeners)
            for sock in open_listening_sockets(config.bind, config.host, config.port)
        ]
        opened.pop_all()
    return sockets


def _count(config: Config) -> int:
    """Return how many workers are wanted at the start."""
    return processors() if config.workers == "auto" else int(config.workers)


def _limits(config: Config) -> Limits:
    """Return how many connections there may be at once. Workers inherit this process's limits."""
    wanted = config.limits.max_connections
    total = None if wanted == "auto" else int(wanted)
    return Limits(each=connection_limit(total), total=total)


def _report_limit(limits: Limits, workers: int) -> None:
    everywhere = workers == 1 or limits.each == limits.total
    where = "" if everywhere else " in each worker"
    log.info("tcplb %s: at most %d connections at once%s", __version__, limits.each, where)


def _report_placement(plan: PoolPlan) -> None:
    """Say at info how a keyed strategy spreads the keys. Raises StrategyError."""
    # What a function says of the backends nobody can know without a connection.
    pool = build_pool(plan, LocalOccupancy(len(plan.backends)), lambda _: None)
    if not pool.keyed or names_function(plan.strategy.name):
        return
    for tier in pool.tiers:
        shares = tier.strategy.shares().items()
        listed = ", ".join(f"{name} {share:.1%}" for name, share in shares)
        which = "" if len(pool.tiers) == 1 else f" in tier {tier.places[0].backend.tier}"
        log.info(
            "pool %s: shares of the keys%s: %s", plan.name, which, listed or "no backend has weight"
        )


def serve(config: Config) -> int:
    """Serve `config` until a signal ends it: this process supervises the workers that do it.

    Returns the number of sessions that outlived the drain time-out. Raises BindError, LogFileError,
    StrategyError or WorkerError before anything is served.
    """
    load_functions(pool.strategy for pool in config.pools.values())
    occupy_standard_descriptors()
    with (
        contextlib.closing(Turns.create()) as turns,
        ApplicationLog(config.log.format, config.log.level, turn=turns.application),
        HeldOpen(config.log.access) as access_log,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(Supervisor(config, access_log, turns).run())
