"""What is being served, and how it becomes something else without a connection being lost.

A reload goes through three steps: make what is new (which may fail, and then nothing has changed),
hand it to the workers, let go of what is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from random import Random
from socket import socket
from typing import Self

from tcplb.config.models import Config, ListenerConfig
from tcplb.control.addresses import Addresses, Opened
from tcplb.control.crew import Crew
from tcplb.control.events import Events
from tcplb.control.given_sockets import GivenSockets, Served
from tcplb.control.limits import connection_limit, processors, worker_slots
from tcplb.control.messages import Verdict
from tcplb.control.numbering import Numbering
from tcplb.control.plan import (
    Limits,
    Plan,
    assign_numbers,
    make_plan,
    new_numbering,
    roomy_layout,
    write_plan,
)
from tcplb.control.prober import Prober
from tcplb.control.scoreboard import Scoreboard
from tcplb.control.sockets import SocketSets, endpoint
from tcplb.control.turns import Turns
from tcplb.control.user_function import load_functions
from tcplb.dataplane.health_log import log_transition
from tcplb.errors import BindError, ChangeError
from tcplb.policy.transition import State, Transition

RELOAD_TIME = 10.0
"""Seconds that the workers may take to go by another plan, before it is said that they do not."""

log = logging.getLogger("tcplb.server")


class Serving:
    """The sockets, the workers and the checks, by one configuration after the other."""

    def __init__(
        self,
        config: Config,
        turns: Turns,
        events: Events,
        given: GivenSockets | None = None,
        *,
        beside_another: bool = False,
    ) -> None:
        """Open the listening sockets, if they are not `given`. Raises BindError.

        If another process serves on the same addresses, that is all until `open_for_all`.
        """
        self.config = config
        self.events = events
        self._turns = turns
        self._addresses = Addresses()
        self._opened = self._addresses.open(config.listeners, given)
        self._addresses.take_over(self._opened)
        self.sockets = SocketSets(self._opened.new)
        self._beside_another = beside_another

    def __enter__(self) -> Self:
        """Make what the workers share. Raises BindError."""
        config = self.config
        with contextlib.ExitStack() as made:
            made.enter_context(contextlib.closing(self.sockets))
            layout, slots = roomy_layout(config), worker_slots(wanted_workers(config))
            numbering = new_numbering(layout)
            assign_numbers(config, numbering)
            self.plan = make_plan(
                config,
                _limits(config),
                slots=slots,
                layout=layout,
                numbering=numbering,
                addresses=self._addresses_of(config, self._opened),
            )
            self.board = Scoreboard.create(slots, layout)
            made.enter_context(contextlib.closing(self.board))
            self._take_given()
            self.crew = Crew(
                self.plan, numbering, self.sockets, self.board, self._turns, events=self.events
            )
            made.enter_context(contextlib.closing(self.crew))
            if not self._beside_another:
                self.open_for_all()
            self.prober = Prober(config.pools, self._checked, self._passed, rng=Random())
            self._made = made.pop_all()
        return self

    def _take_given(self) -> None:
        self.sockets.add_given(self._opened.more)
        with self._enough_sockets():
            self.sockets.complete()

    def open_for_all(self) -> None:
        """See to it that there are sockets for each worker. Raises BindError.

        Clients come to a new one at once, and are lost if it is closed before a worker has it.
        """
        with self._enough_sockets():
            while len(self.sockets) < wanted_workers(self.config):
                self.sockets.open_another()
        self.crew.share_out()

    @contextlib.contextmanager
    def _enough_sockets(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            workers = wanted_workers(self.config)
            raise BindError(f"no socket for each of {workers} workers: {error.strerror}") from error

    def __exit__(self, *_: object) -> None:
        """Let go of all that is left."""
        self._made.close()

    # -- another configuration ----------------------------------------------------------------

    async def apply(self, config: Config) -> list[str]:
        """Serve by `config` from now on. Returns what is not as it should be yet, in words.

        Raises BindError, StrategyError, or ChangeError if there is no room for all of it; then
        nothing has changed. Not to be called again before it has returned.
        """
        load_functions(pool.strategy for pool in config.pools.values())
        numbering = self.crew.numbering.copy()
        assign_numbers(config, numbering)
        opened = self._addresses.open(config.listeners)
        with contextlib.ExitStack() as made:
            made.callback(opened.close)
            try:
                plan = self._next_plan(config, numbering, opened)
                plan_file = write_plan(plan)
                made.callback(os.close, plan_file)
                self.sockets.add(opened.new)
            except OSError as error:
                raise ChangeError(f"cannot be carried out: {error.strerror}") from error
            made.pop_all()
        self._take_over(config, plan, plan_file, numbering, opened)
        return await self.crew.reloaded(RELOAD_TIME)

    def _next_plan(self, config: Config, numbering: Numbering, opened: Opened) -> Plan:
        return make_plan(
            config,
            _limits(config),
            slots=self.plan.slots,
            layout=self.plan.layout,
            numbering=numbering,
            addresses=self._addresses_of(config, opened),
            generation=self.plan.generation + 1,
        )

    def _take_over(
        self, config: Config, plan: Plan, plan_file: int, numbering: Numbering, opened: Opened
    ) -> None:
        before, self.config, self.plan = self.config, config, plan
        logging.getLogger().setLevel(config.log.level.upper())
        for pool, backend in _replaced(before, config):
            self.crew.verdicts.forget(pool, backend)
        # First ours, so that a worker, which takes who waits and then closes its copy, is the last.
        self.sockets.remove(opened.gone)
        self._addresses.take_over(opened)
        self.crew.reload(plan, plan_file, numbering)
        self.crew.offer([number for number, _ in opened.new])
        self.prober.update(config.pools)
        if wanted_workers(before) != wanted_workers(config):
            self.crew.resize(wanted_workers(config), config.limits.drain_timeout)

    # -- look ---------------------------------------------------------------------------------

    def sockets_of(self, listener: ListenerConfig) -> list[socket]:
        """Return the first socket of each address of a listener; none while we drain."""
        numbers = self._addresses.of(listener)
        first = self.sockets[0]
        return [sock for number, sock in first if number in numbers and sock.fileno() >= 0]

    def served(self) -> Iterator[Served]:
        """Return all listening sockets, each with its listener's name and address."""
        listeners = {
            number: listener
            for listener in self.config.listeners
            for number in self._addresses.of(listener)
        }
        for each in range(len(self.sockets)):
            for number, sock in self.sockets[each]:
                listener = listeners[number]
                yield Served(sock, listener.name, listener.host, listener.port)

    def endpoints(self, listener: ListenerConfig) -> list[str]:
        """Return the addresses of a listener as HOST:PORT."""
        return [endpoint(sock) for sock in self.sockets_of(listener)]

    def max_connections(self) -> int:
        """Return the most connections that there may be at once, over all workers."""
        limits = self.plan.limits
        # While all of them drain, the limit is what it was for the last one.
        workers = max(1, sum(slot.wanted for slot in self.crew.slots))
        together = limits.each * workers
        return together if limits.total is None else min(limits.total, together)

    def report(self, listener: ListenerConfig) -> None:
        """Say at info where a listener listens, and for what."""
        pool = self.config.pools[listener.pool]
        for address in self.endpoints(listener):
            log.info(
                "listening on %s: listener %s, pool %s (%s, backends: %d)",
                address,
                listener.name,
                listener.pool,
                pool.strategy,
                len(pool.backends),
            )

    @staticmethod
    def _addresses_of(config: Config, opened: Opened) -> dict[str, tuple[int, ...]]:
        return {listener.name: opened.of(listener) for listener in config.listeners}

    # -- active checks ------------------------------------------------------------------------

    def _checked(self, pool: str, transition: Transition) -> None:
        log_transition(pool, transition)
        self.crew.announce(Verdict(pool, transition))

    def _passed(self, pool: str, backend: str, began: float) -> None:
        # Whoever ejected it has not been there for a while; the check has, just now.
        ejection = self.crew.verdicts.ejected(pool, backend)
        if ejection is not None and ejection.at < began:
            reason = "is back: its check passed"
            self._checked(pool, Transition(backend, State.IN, reason, at=began))


def wanted_workers(config: Config) -> int:
    """Return how many workers are wanted."""
    return processors() if config.workers == "auto" else int(config.workers)


def _limits(config: Config) -> Limits:
    """Return how many connections there may be at once. Workers inherit this process's limits."""
    wanted = config.limits.max_connections
    total = None if wanted == "auto" else int(wanted)
    return Limits(each=connection_limit(total), total=total)


def _replaced(before: Config, after: Config) -> set[tuple[str, str]]:
    """Return the backends that are gone, or have another address under the same name."""
    return {where for where, _ in _places(before) - _places(after)}


def _places(config: Config) -> set[tuple[tuple[str, str], str]]:
    return {
        ((name, backend.name), backend.address)
        for name, pool in config.pools.items()
        for backend in pool.backends
    }
