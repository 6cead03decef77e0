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
from tcplb.control.admin.port import AdminPort, find_token, open_port
from tcplb.control.application_log import ApplicationLog
from tcplb.control.build import build_pool
from tcplb.control.configuration import Configuration, Source
from tcplb.control.events import Events
from tcplb.control.given_sockets import GivenSockets, given_sockets
from tcplb.control.logs import HeldOpen
from tcplb.control.messages import ReopenLogs
from tcplb.control.notify import Notifier
from tcplb.control.operator import Operator
from tcplb.control.plan import Limits, PoolPlan
from tcplb.control.process import first_of, new_event_loop, occupy_standard_descriptors
from tcplb.control.serving import Serving, wanted_workers
from tcplb.control.turns import Turns
from tcplb.control.upgrade import Estate, Predecessor, Successor, UpgradeError
from tcplb.control.user_function import load_functions
from tcplb.control.watch import look
from tcplb.control.worker_process import GRACE
from tcplb.errors import TcplbError
from tcplb.policy.names import names_function
from tcplb.policy.occupancy import LocalOccupancy

log = logging.getLogger("tcplb.server")


class Supervisor:
    """Serves a `Configuration` until a signal ends it, or another process takes over."""

    def __init__(
        self,
        configuration: Configuration,
        access_log: HeldOpen,
        turns: Turns,
        predecessor: Predecessor | None = None,
    ) -> None:
        self._configuration = configuration
        self._access_log = access_log
        self._turns = turns
        self._predecessor = predecessor
        self._notifier = Notifier.from_environment(os.environ)
        self._successor: Successor | None = None
        self._upgrading = False
        self._told_to_stop = asyncio.Event()
        self._stop = asyncio.Event()
        """Not to serve any more: it was told to stop, or another process serves."""
        self._force = asyncio.Event()
        self._why_forced = "on a second signal"
        self._reload = asyncio.Event()
        self._upgrade = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain. Returns how many sessions had to be cut off.

        Raises BindError if a listener cannot be opened and WorkerError if no worker can be
        started; nothing has been served then.
        """
        config, before = self._configuration.config, self._predecessor
        with contextlib.ExitStack() as opened:
            given = opened.enter_context(contextlib.closing(given_sockets(os.environ, os.getpid())))
            serving = opened.enter_context(
                Serving(config, self._turns, Events(), given, beside_another=before is not None)
            )
            opened.enter_context(self._signals(serving))
            admin = open_port(config.admin, before.admin if before else None)
            if admin is not None:
                opened.enter_context(admin)
            token = find_token(config.admin, admin)
            if admin is not None and token is None:
                admin.close()  # rather than let clients wait for an answer
                admin = None
            await self._start_up(serving, given)
            operator = Operator(self._configuration, serving, reload_soon=self._reload.set)
            if before is not None:
                operator.drains.adopt(before.drains)
            async with (
                AdminPort(config.admin, admin, token, serving, operator) as port,
                self._looked_after(operator),
            ):
                self._begin(serving)
                async with self._running(serving, operator, admin):
                    await self._stop.wait()
                operator.why_not = "tcplb is about to end: nothing is changed any more"
                port.say_draining()
                if self._successor is not None:
                    await port.hand_over()
                cut = await self._drain(serving)
            self._report_end(serving, cut)
            return cut

    # -- start-up and end ---------------------------------------------------------------------

    async def _start_up(self, serving: Serving, given: GivenSockets) -> None:
        for problem in (*given.problems, *given.left):
            log.warning("a socket that was handed to us is not used: %s", problem)
        given.close()
        workers = wanted_workers(serving.config)
        serving.crew.start(workers)
        _report_limit(serving.plan.limits, workers)
        for pool in serving.plan.pools:
            _report_placement(pool)
        await first_of(serving.crew.started(), self._stop.wait())
        if not self._stop.is_set():
            serving.open_for_all()
        for listener in serving.config.listeners:
            serving.report(listener)

    def _report_end(self, serving: Serving, cut: int) -> None:
        if cut:
            limits = serving.config.limits
            timeout = limits.upgrade_timeout if self._successor else limits.drain_timeout
            why = self._why_forced if self._force.is_set() else f"after {timeout:g} s"
            log.warning("closed %d connections that were still open %s", cut, why)
        counters = serving.board.totals()
        log.info(
            "stopped after %d connections; %d were turned away, accepting paused %d times",
            counters.accepted,
            counters.turned_away,
            counters.pauses,
        )

    def _begin(self, serving: Serving) -> None:
        """Tell whoever waits for it that we serve."""
        if self._stop.is_set():
            return  # somebody did not want us; a process before us goes on
        if self._predecessor is not None:
            self._notifier.main_pid(os.getpid())
        self._notifier.ready("serving")
        if self._predecessor is not None:
            self._predecessor.ready()
            # Until now a log rotation was told to that one alone.
            self._reopen_logs(serving)

    async def _drain(self, serving: Serving) -> int:
        """Let the sessions end; return how many had to be cut off."""
        limits = serving.config.limits
        if self._successor is None:
            return await self._drain_for_good(serving, limits.drain_timeout)
        hurry = asyncio.create_task(self._hurry(serving, self._successor), name="hurry")
        try:
            return await serving.crew.drain(limits.upgrade_timeout, self._force)
        finally:
            hurry.cancel()
            await asyncio.gather(hurry, return_exceptions=True)

    async def _drain_for_good(self, serving: Serving, timeout: float) -> int:
        before = self._predecessor
        if before is None or before.has_left:
            self._notifier.stopping()
        if before is None or not before.has_left:
            return await serving.crew.drain(timeout, self._force)
        before.ending()
        cut = await serving.crew.drain(timeout, self._force)
        await first_of(before.gone(), self._force.wait(), timeout=timeout + GRACE)
        return cut

    async def _hurry(self, serving: Serving, successor: Successor) -> None:
        """When the one that took over ends, or a signal says so, this one is to end as well."""
        gone = successor.gone(lambda: self._reopen_logs(serving))
        await first_of(gone, self._told_to_stop.wait())
        timeout = serving.config.limits.drain_timeout
        log.info("stopping: open connections have %g s to end from now on", timeout)
        await asyncio.sleep(timeout)
        self._why_forced = f"after {timeout:g} s"
        self._force.set()

    # -- while it serves ----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _running(
        self, serving: Serving, operator: Operator, admin: socket | None
    ) -> AsyncIterator[None]:
        """Check the backends, and do what signals ask for."""
        serving.prober.start()
        works = {
            "reload": self._reload_when_asked(operator),
            "upgrade": self._upgrade_when_asked(serving, operator, admin),
        }
        tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await serving.prober.close()

    @contextlib.asynccontextmanager
    async def _looked_after(self, operator: Operator) -> AsyncIterator[None]:
        """Do what goes on to the end: backends are drained, and the watchdog wants to be fed."""
        watchdog = asyncio.create_task(self._feed_watchdog(), name="watchdog")
        try:
            yield
        finally:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)
            await operator.close()

    async def _reload_when_asked(self, operator: Operator) -> None:
        """Reload whenever a signal asks for it; several at once are one."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                await operator.reload()
            except TcplbError:
                pass  # it is in the log
            except Exception:
                log.exception("internal error in a reload; serving goes on")
            self._notifier.ready("serving")

    async def _upgrade_when_asked(
        self, serving: Serving, operator: Operator, admin: socket | None
    ) -> None:
        """Let another process take over whenever a signal asks for it, until one has."""
        while self._successor is None:
            await self._upgrade.wait()
            self._upgrade.clear()
            log.info("upgrade: starting the new process")
            self._upgrading = True
            # It would never hear of what is changed from now on.
            await operator.stand_still("an upgrade is under way: try again")
            try:
                successor = Successor.start(self._estate(serving, operator, admin))
                await successor.ready()
            except UpgradeError as error:
                operator.why_not, self._upgrading = "", False
                _report_failed_upgrade(serving, error)
            else:
                log.info("upgrade: pid %d has taken over", successor.pid)
                self._successor = successor
                self._stop.set()

    def _estate(self, serving: Serving, operator: Operator, admin: socket | None) -> Estate:
        return Estate(
            sockets=list(serving.served()),
            admin=admin,
            turns=self._turns.descriptor,
            changes=operator.configuration.changes,
            drains=operator.drains.to_json(),
            older=() if self._predecessor is None else self._predecessor.channels,
        )

    async def _feed_watchdog(self) -> None:
        interval = self._notifier.watchdog_interval
        # Once there is a successor, it is that which has to be alive.
        while interval is not None and self._successor is None:
            self._notifier.watchdog()
            await asyncio.sleep(interval)

    # -- signals ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self, serving: Serving) -> Iterator[None]:
        loop, crew = asyncio.get_running_loop(), serving.crew
        actions = {
            signal.SIGTERM: self._on_stop_signal,
            signal.SIGINT: self._on_stop_signal,
            signal.SIGHUP: self._reload.set,
            signal.SIGUSR2: self._upgrade.set,
            signal.SIGUSR1: lambda: self._on_reopen_signal(serving),
            signal.SIGTTIN: lambda: self._on_add_signal(serving),
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
        self._reopen_logs(serving)
        if self._predecessor is not None:
            self._predecessor.reopen()

    def _reopen_logs(self, serving: Serving) -> None:
        self._access_log.reopen()
        serving.crew.tell(ReopenLogs())

    def _on_add_signal(self, serving: Serving) -> None:
        if self._stop.is_set():
            log.warning("no more workers: tcplb is about to end")
        elif self._upgrading:
            # The new process has been given the sockets, and would not know another one's.
            log.warning("no more workers while an upgrade is under way")
        else:
            serving.crew.add()

    def _on_stop_signal(self) -> None:
        if self._told_to_stop.is_set():
            self._force.set()
        self._told_to_stop.set()
        self._stop.set()


def _report_failed_upgrade(serving: Serving, error: UpgradeError) -> None:
    log.error("upgrade failed, serving goes on: %s", error)
    serving.events.add("server", f"upgrade failed: {error}")


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
    predecessor = Predecessor.from_environment(os.environ)
    changes = None if predecessor is None else predecessor.changes
    seen = None if source.file is None else look(source.file)
    configuration = Configuration(source, source.load(source.file), changes, seen)
    config = configuration.config
    load_functions(pool.strategy for pool in config.pools.values())
    occupy_standard_descriptors()
    turns = Turns.create() if predecessor is None else Turns.adopt(predecessor.turns)
    with (
        contextlib.closing(turns),
        ApplicationLog(config.log.format, config.log.level, turn=turns.application),
        HeldOpen(config.log.access) as access_log,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(Supervisor(configuration, access_log, turns, predecessor).run())
