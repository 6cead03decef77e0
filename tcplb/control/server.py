"""One balancer process: start-up, serving, and an orderly end. Signal handlers only record."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from socket import socket

if sys.platform != "win32":
    import uvloop

from tcplb import __version__
from tcplb.config.models import Config, ListenerConfig
from tcplb.control.build import build_engine, build_pool, build_timeouts
from tcplb.control.limits import connection_limit
from tcplb.control.logs import Logs
from tcplb.control.sockets import endpoint, open_listening_sockets
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.plane import DataPlane
from tcplb.dataplane.session import Frontend
from tcplb.policy.pool import Pool

log = logging.getLogger("tcplb.server")


class Server:
    """Serves one `Config` until a signal ends it."""

    def __init__(self, config: Config, logs: Logs) -> None:
        self._config = config
        self._logs = logs
        self._counters = Counters()
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain. Returns how many sessions had to be cut off.

        Raises BindError if a listener cannot be opened; nothing has been served then.
        """
        with self._signals():
            plane = self._start_up()
            await self._stop.wait()
            return await self._shut_down(plane)

    # -- start-up -----------------------------------------------------------------------------

    def _start_up(self) -> DataPlane:
        listeners = self._config.listeners
        sockets = _open_all(listeners)
        engines = {config.engine: build_engine(config.engine) for config in listeners}
        pools = {name: build_pool(name, config) for name, config in self._config.pools.items()}
        wanted = self._config.limits.max_connections
        limit = connection_limit(None if wanted == "auto" else int(wanted))
        plane = DataPlane(engines.values(), limit, self._counters)
        log.info("tcplb %s: at most %d connections at once", __version__, limit)
        for pool in pools.values():
            _print_placement(pool)
        # From here on only sessions make objects; what start-up made is never garbage.
        gc.collect()
        gc.freeze()
        for config, sock in sockets:
            frontend = Frontend(
                name=config.name,
                pool=pools[config.pool],
                engine=engines[config.engine],
                timeouts=build_timeouts(config),
                counters=self._counters,
                record=self._logs.record,
            )
            plane.listen(sock, frontend)
            log.info(
                "listening on %s: listener %s, pool %s (%s, backends: %d)",
                endpoint(sock),
                config.name,
                config.pool,
                self._config.pools[config.pool].strategy,
                len(frontend.pool.backends),
            )
        return plane

    # -- the end ------------------------------------------------------------------------------

    async def _shut_down(self, plane: DataPlane) -> int:
        plane.stop_listening()
        timeout = self._config.limits.drain_timeout
        if plane.open_sessions:
            log.info(
                "stopping: no new connections; the %d open ones have %g s to end "
                "(a second signal closes them now)",
                plane.open_sessions,
                timeout,
            )
            await self._drain(plane, timeout)
        cut = await plane.close()
        if cut:
            why = "on a second signal" if self._force.is_set() else f"after {timeout:g} s"
            log.warning("closed %d connections that were still open %s", cut, why)
        counters = self._counters
        log.info(
            "stopped after %d connections; %d were turned away, accepting paused %d times",
            counters.accepted,
            counters.turned_away,
            counters.pauses,
        )
        return cut

    async def _drain(self, plane: DataPlane, timeout: float) -> None:
        waits = {
            asyncio.create_task(plane.wait_empty(), name="drain"),
            asyncio.create_task(self._force.wait(), name="second signal"),
        }
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    # -- signals ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        actions = {
            signal.SIGTERM: self._on_stop_signal,
            signal.SIGINT: self._on_stop_signal,
            signal.SIGHUP: self._on_reload_signal,
            signal.SIGUSR1: self._logs.reopen,
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

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()


def _open_all(listeners: tuple[ListenerConfig, ...]) -> list[tuple[ListenerConfig, socket]]:
    """Open every listener's sockets, or none: raises BindError."""
    with contextlib.ExitStack() as opened:
        sockets = [
            (config, opened.enter_context(sock))
            for config in listeners
            for sock in open_listening_sockets(config.bind, config.host, config.port)
        ]
        opened.pop_all()
    return sockets


def _print_placement(pool: Pool) -> None:
    """Say at info how a keyed strategy spreads the keys."""
    if pool.strategy.keyed:
        shares = pool.strategy.shares()
        listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        log.info("pool %s: shares of the ring: %s", pool.name, listed or "no backend has weight")


def serve(config: Config) -> int:
    """Serve `config` in this process until a signal ends it, on uvloop where there is one.

    Returns the number of sessions that outlived the drain time-out. Raises BindError or
    LogFileError before anything is served.
    """
    _occupy_standard_descriptors()
    with (
        Logs(config.log.access, config.log.format, config.log.level) as logs,
        asyncio.Runner(loop_factory=_new_event_loop) as runner,
    ):
        return runner.run(Server(config, logs).run())


def _occupy_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed: libuv aborts if it gets one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":  # uvloop is not made for it
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
