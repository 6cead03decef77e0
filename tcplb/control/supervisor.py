"""The supervisor: owns the listening sockets, starts the workers, and ends all in good order.

It moves no bytes and sleeps when nothing happens. Signal handlers only record, or tell the crew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from socket import socket

from tcplb import __version__
from tcplb.control.admin.balancer import Balancer
from tcplb.control.admin.port import open_port, serve_port
from tcplb.control.admin.views import Views
from tcplb.control.application_log import ApplicationLog
from tcplb.control.build import build_pool
from tcplb.control.configuration import Configuration, Source
from tcplb.control.events import Events
from tcplb.control.given_sockets import given_sockets
from tcplb.control.logs import HeldOpen
from tcplb.control.messages import ReopenLogs
from tcplb.control.operator import Operator
from tcplb.control.plan import Limits, PoolPlan
from tcplb.control.process import first_of, new_event_loop, occupy_standard_descriptors
from tcplb.control.serving import Serving, wanted_workers
from tcplb.control.turns import Turns
from tcplb.control.user_function import load_functions
from tcplb.errors import TcplbError
from tcplb.policy.names import names_function
from tcplb.policy.occupancy import LocalOccupancy

log = logging.getLogger("tcplb.server")


class Supervisor:
    """Serves a `Configuration` until a signal ends it."""

    def __init__(self, configuration: Configuration, access_log: HeldOpen, turns: Turns) -> None:
        self._configuration = configuration
        self._access_log = access_log
        self._turns = turns
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain. Returns how many sessions had to be cut off.

        Raises BindError if a listener cannot be opened and WorkerError if no worker can be
        started; nothing has been served then.
        """
        config, events = self._configuration.config, Events()
        with (
            contextlib.closing(given_sockets(os.environ, os.getpid())) as given,
            Serving(config, self._turns, events, given) as serving,
            contextlib.ExitStack() as opened,
            self._signals(serving),
        ):
            admin_socket = open_port(config.admin)
            if admin_socket is not None:
                opened.enter_context(admin_socket)
            await self._start_up(serving)
            operator = Operator(self._configuration, serving)
            async with _admin_port(admin_socket, serving, operator) as views:
                async with _running(serving, operator), self._reloading(operator):
                    await self._stop.wait()
                views.state = "draining"
                cut = await serving.crew.drain(serving.config.limits.drain_timeout, self._force)
            self._report_end(serving, cut)
            return cut

    # -- start-up and end ---------------------------------------------------------------------

    async def _start_up(self, serving: Serving) -> None:
        workers = wanted_workers(serving.config)
        serving.crew.start(workers)
        _report_limit(serving.plan.limits, workers)
        for pool in serving.plan.pools:
            _report_placement(pool)
        await first_of(serving.crew.started(), self._stop.wait())
        for listener in serving.config.listeners:
            serving.report(listener)

    def _report_end(self, serving: Serving, cut: int) -> None:
        if cut:
            timeout = serving.config.limits.drain_timeout
            why = "on a second signal" if self._force.is_set() else f"after {timeout:g} s"
            log.warning("closed %d connections that were still open %s", cut, why)
        counters = serving.board.totals()
        log.info(
            "stopped after %d connections; %d were turned away, accepting paused %d times",
            counters.accepted,
            counters.turned_away,
            counters.pauses,
        )

    # -- reload -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _reloading(self, operator: Operator) -> AsyncIterator[None]:
        """Reload whenever a signal asks for it; several at once are one."""

        async def reload_when_asked() -> None:
            while True:
                await self._reload.wait()
                self._reload.clear()
                try:
                    await operator.reload()
                except TcplbError:
                    pass  # it is in the log
                except Exception:
                    log.exception("internal error in a reload; serving goes on")

        task = asyncio.create_task(reload_when_asked(), name="reload")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- signals ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self, serving: Serving) -> Iterator[None]:
        loop, crew = asyncio.get_running_loop(), serving.crew
        actions = {
            signal.SIGTERM: self._on_stop_signal,
            signal.SIGINT: self._on_stop_signal,
            signal.SIGHUP: self._reload.set,
            signal.SIGUSR1: lambda: self._on_reopen_signal(serving),
            signal.SIGTTIN: crew.add,
            signal.SIGTTOU: lambda: crew.remove(serving.config.limits.drain_timeout),
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        try:
            yield
        finally:
            for number in actions:
                loop.remove_signal_handler(number)

    def _on_reopen_signal(self, serving: Serving) -> None:
        self._access_log.reopen()
        serving.crew.tell(ReopenLogs())

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()


@contextlib.asynccontextmanager
async def _running(serving: Serving, operator: Operator) -> AsyncIterator[None]:
    """Check the backends actively, as far as that is wanted, and look after drains."""
    serving.prober.start()
    try:
        yield
    finally:
        await operator.close()
        await serving.prober.close()


@contextlib.asynccontextmanager
async def _admin_port(
    sock: socket | None, serving: Serving, operator: Operator
) -> AsyncIterator[Views]:
    """Serve the admin port, if there is one."""
    balancer = Balancer(serving, operator)
    server = await serve_port(serving.config.admin, sock, balancer, lambda: b"")
    try:
        yield balancer.views
    finally:
        if server is not None:
            await server.close()


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


def serve(source: Source) -> int:
    """Serve by the settings of `source` until a signal ends it.

    This process supervises the workers that do it. Returns the number of sessions that outlived the
    drain time-out. Raises ConfigError, BindError, LogFileError, StrategyError or WorkerError before
    anything is served.
    """
    configuration = Configuration(source, source.load(source.file))
    config = configuration.config
    load_functions(pool.strategy for pool in config.pools.values())
    occupy_standard_descriptors()
    with (
        contextlib.closing(Turns.create()) as turns,
        ApplicationLog(config.log.format, config.log.level, turn=turns.application),
        HeldOpen(config.log.access) as access_log,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(Supervisor(configuration, access_log, turns).run())
