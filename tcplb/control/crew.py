"""The workers together: started, watched, replaced, added, removed, and given their sockets."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable
from functools import partial
from socket import socket

from tcplb.control.events import Events
from tcplb.control.inherited import Inherited
from tcplb.control.inquiries import Answer, EndedConnections, Question
from tcplb.control.leaving import Leaving
from tcplb.control.messages import (
    Answered,
    Message,
    OpenTap,
    Ready,
    Reloaded,
    Unused,
    Verdict,
)
from tcplb.control.numbering import Numbering
from tcplb.control.plan import Plan, address_of, write_plan
from tcplb.control.process import first_of
from tcplb.control.questions import Questions
from tcplb.control.scoreboard import Scoreboard
from tcplb.control.sharing import Sharing
from tcplb.control.slot import Slot
from tcplb.control.sockets import SocketSets
from tcplb.control.taps import Taps
from tcplb.control.turns import Turns
from tcplb.control.verdicts import Verdicts
from tcplb.control.worker_process import WorkerProcess
from tcplb.errors import WorkerError

log = logging.getLogger("tcplb.server")


class Crew:
    """Keeps as many workers as are wanted, and each listening socket with one that is ready."""

    def __init__(
        self,
        plan: Plan,
        numbering: Numbering,
        sockets: SocketSets,
        board: Scoreboard,
        turns: Turns,
        *,
        events: Events,
    ) -> None:
        self._plan = plan
        self._leaving = Leaving(numbering, board)
        self._plan_file = write_plan(plan)
        self._sockets = sockets
        self._board = board
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._slots: dict[int, Slot] = {}
        self._sharing = Sharing(sockets, self._send)
        self.verdicts = Verdicts(events)
        self.taps = Taps(lambda: self.tell(OpenTap(self.taps.filters)))
        self._questions = Questions(self._send)
        self._events = events
        self.restarts = 0
        """How often a worker has died and another one was to take its place."""
        self._named = False
        self._starting = True
        self._stopping = False
        self._why = ""
        self._cut = 0
        self._changed = asyncio.Event()

    # -- start-up -----------------------------------------------------------------------------

    def start(self, workers: int) -> None:
        """Start the first workers."""
        self._named = workers > 1
        for _ in range(workers):
            self._launch(self._new_slot())

    async def started(self) -> None:
        """Wait until each of the first workers is ready, or dead.

        Raises WorkerError if none is ready: what one cannot do another will not do either. From
        then on those that die are replaced.
        """
        slots = self._slots.values()
        await self._until(lambda: all(slot.ready or slot.process is None for slot in slots))
        if not any(slot.ready for slot in slots):
            raise WorkerError(f"no worker could be started: {self._why}")
        self._starting = False
        for slot in slots:
            if slot.process is None:
                self._launch_later(slot, slot.backoff.delay)

    @property
    def slots(self) -> list[Slot]:
        """The places that have a worker, or are to have another one; to look at."""
        return [slot for _, slot in sorted(self._slots.items())]

    # -- more and fewer workers ---------------------------------------------------------------

    def add(self) -> None:
        """Start one more worker, if there is a slot for it."""
        if len(self._slots) >= self._plan.slots:
            log.warning("no more than %d workers: restart to have more", self._plan.slots)
            return
        slot = self._new_slot()
        try:
            while len(self._sockets) < self._wanted:
                self._sockets.open_another()
        except OSError as error:
            del self._slots[slot.number]
            log.warning("no more workers: no socket for another one: %s", error.strerror)
            return
        log.info("%s starts: there are to be %d", slot.name, self._wanted)
        self._events.add("worker", f"{slot.name} starts: there are to be {self._wanted}")
        self.share_out()
        self._launch(slot)

    def remove(self, timeout: float) -> None:
        """Let one worker drain for `timeout` seconds and end, but never the last one."""
        if self._wanted == 1:
            log.warning("the last worker stays")
            return
        wanted = (slot for slot in self._slots.values() if slot.wanted)
        # One that is not serving anyway, or else the newest.
        slot = min(wanted, key=lambda slot: (slot.ready, -slot.number))
        slot.wanted = False
        log.info("%s stops: there are to be %d", slot.name, self._wanted)
        self._events.add("worker", f"{slot.name} stops: there are to be {self._wanted}")
        self.share_out()
        if slot.process is not None:
            slot.process.drain(timeout)
        else:
            self._forget(slot)

    def resize(self, workers: int, timeout: float) -> None:
        """Add or remove workers until there are to be so many."""
        for _ in range(workers - self._wanted):
            self.add()
        for _ in range(self._wanted - workers):
            self.remove(timeout)

    # -- another plan -------------------------------------------------------------------------

    @property
    def numbering(self) -> Numbering:
        """The numbering of the plan that is in force."""
        return self._leaving.numbering

    def reload(self, plan: Plan, plan_file: int, numbering: Numbering) -> None:
        """Have all workers go by another plan, those that are yet to come by `plan_file`."""
        self._plan = plan
        os.close(self._plan_file)
        self._plan_file = plan_file
        self._leaving.begin(numbering, plan.generation, self._slots_with_process())
        for process in self._processes():
            process.reload(plan)

    def offer(self, addresses: Collection[int]) -> None:
        """Have the workers accept on sockets that are new among ours."""
        self._sharing.offer(addresses)

    async def reloaded(self, timeout: float) -> list[str]:
        """Wait until all workers that serve go by the plan; return in words which do not.

        After `timeout` seconds they are not waited for any longer.
        """
        generation = self._plan.generation
        slots = [slot for slot in self._slots.values() if slot.ready]
        has_answered = self._until(lambda: all(slot.has_tried(generation) for slot in slots))
        await first_of(has_answered, timeout=timeout)
        return [trouble for slot in slots if (trouble := slot.trouble_with(generation))]

    # -- questions ----------------------------------------------------------------------------

    @property
    def able(self) -> list[int]:
        """The slots of the workers that can be asked."""
        return [n for n, slot in self._slots.items() if slot.process and slot.process.ready_at]

    async def ask(
        self, question: Question, workers: Collection[int] | None = None
    ) -> dict[int, Answer]:
        """Ask all workers, or some by their slots; return the answers of those that have one."""
        asked = [slot for slot in self.able if workers is None or slot in workers]
        return await self._questions.ask(asked, question)

    def tell(self, message: Message) -> None:
        """Send a message to every worker."""
        for process in self._processes():
            process.send(message)

    # -- the end ------------------------------------------------------------------------------

    async def drain(self, timeout: float, force: asyncio.Event) -> int:
        """Stop accepting, let all sessions end, and end the workers.

        After `timeout` seconds, or when `force` is set, what is left is cut off. Returns how many
        sessions that were.
        """
        self._stopping = True
        for slot in self._slots.values():
            if slot.restart is not None:
                slot.restart.cancel()
        # With nobody else, one that is just starting can still take who waits.
        self.share_out(with_starting=True)
        for process in self._processes():
            process.drain(timeout)
        self._sockets.close()
        await first_of(self._drained(timeout), force.wait())
        for process in self._processes():
            process.force()
        await self._until(self._all_gone)
        return self._cut

    async def _drained(self, timeout: float) -> None:
        await self._until(lambda: all(p.open_sessions is not None for p in self._processes()))
        open_sessions = sum(process.open_sessions or 0 for process in self._processes())
        if open_sessions:
            log.info(
                "stopping: no new connections; the %d open ones have %g s to end "
                "(a second signal closes them now)",
                open_sessions,
                timeout,
            )
        await self._until(self._all_gone)

    def close(self) -> None:
        """Let go of what the workers were started with."""
        os.close(self._plan_file)

    def _all_gone(self) -> bool:
        return not any(True for _ in self._processes())

    # -- one worker's life --------------------------------------------------------------------

    def _new_slot(self) -> Slot:
        number = next(number for number in range(self._plan.slots) if number not in self._slots)
        slot = self._slots[number] = Slot(number)
        return slot

    def _forget(self, slot: Slot) -> None:
        if slot.restart is not None:
            slot.restart.cancel()
        del self._slots[slot.number]

    def _launch(self, slot: Slot) -> None:
        slot.restart = None

        def inherited(channel: int) -> Inherited:
            return Inherited(
                slot=slot.number,
                named=self._named or slot.number > 0,
                channel=channel,
                scoreboard=self._board.descriptor,
                turns=self._turns.descriptor,
                plan=self._plan_file,
            )

        generation = self._plan.generation

        try:
            slot.process = WorkerProcess(
                inherited, partial(self._on_message, slot), partial(self._ended, slot), generation
            )
        except OSError as error:
            self._replace(slot, f"cannot be started: {error.strerror}", None)

    def _launch_later(self, slot: Slot, delay: float) -> None:
        self.restarts += 1
        slot.restart = self._loop.call_later(delay, self._launch, slot)

    def _on_message(self, slot: Slot, message: Message) -> None:
        match message:
            case Ready():
                self._on_ready(slot)
            case Verdict() if self._has(message):
                self._spread(slot, message)
            case Reloaded(_, failure) if failure:
                log.error("%s goes on by the settings of before: %s", slot.name, failure)
            case Reloaded(generation, _, leaving):
                self._leaving.follows(slot.number, generation, leaving)
            case Unused(generation, cells):
                self._leaving.unused(slot.number, generation, cells)
            case Answered(number, answer):
                self._questions.answered(number, answer)
            case EndedConnections():
                self.taps.tell(slot.number + 1, message)
        self._changed.set()

    def _on_ready(self, slot: Slot) -> None:
        slot.reload(self._plan)  # there may have been one while it was starting
        for verdict in self.verdicts.in_force():
            slot.send(verdict)
        if self.taps.filters:
            slot.send(OpenTap(self.taps.filters))
        if not self._stopping:
            self.share_out()

    def _ended(self, slot: Slot, process: WorkerProcess, end: str) -> None:
        slot.process = None
        sessions = self._board.sessions(slot.number)
        self._board.retire(slot.number, self._leaving.tops)
        self._leaving.gone(slot.number)
        self._questions.gone(slot.number)
        self._sharing.forget(slot.number)
        if process.draining:
            self._retired(slot, process, end, sessions)
        else:
            ready_at = process.ready_at
            served = None if ready_at is None else self._loop.time() - ready_at
            self._replace(slot, f"(pid {process.pid}) ended: {end}", served)
        if not self._stopping:
            self.share_out()
        self._changed.set()

    def _retired(self, slot: Slot, process: WorkerProcess, end: str, sessions: int) -> None:
        """Let go of a worker that was to end."""
        cut = sessions if process.cut is None else process.cut
        if process.cut is None:
            log.error("%s (pid %d) did not drain in good order: %s", slot.name, process.pid, end)
        if self._stopping:
            self._cut += cut
        elif cut:
            log.warning("%s closed %d connections that were still open", slot.name, cut)
        self._forget(slot)

    def _replace(self, slot: Slot, what: str, served: float | None) -> None:
        """Have a worker that died replaced, once its turn has come."""
        delay = slot.backoff.after_death(served)
        self._why = f"{slot.name} {what}"
        if self._starting:
            log.error("%s %s", slot.name, what)
            return
        when = f"in {delay:g} s" if delay else "at once"
        log.error("%s %s; another one starts %s", slot.name, what, when)
        self._events.add("worker", f"{slot.name} {what}; another one starts {when}")
        self._launch_later(slot, delay)

    # -- health -------------------------------------------------------------------------------

    def announce(self, verdict: Verdict) -> None:
        """Tell all workers what was found of a backend elsewhere: by checks, say."""
        self._spread(None, verdict)

    def _has(self, verdict: Verdict) -> bool:
        """Whether it is of a backend in the plan: there may have been a reload since."""
        address = address_of(self._plan, verdict.pool, verdict.transition.backend)
        return address is not None and verdict.address in (None, address)

    def _spread(self, origin: Slot | None, verdict: Verdict) -> None:
        """Tell the others what one has found of a backend."""
        self.verdicts.note(verdict)
        for slot in self._slots.values():
            if slot is not origin and slot.process is not None and slot.process.ready_at:
                slot.process.send(verdict)

    # -- small things -------------------------------------------------------------------------

    def share_out(self, *, with_starting: bool = False) -> None:
        """See to it that each socket is with a worker that accepts on it."""
        able = [
            slot.number
            for slot in self._slots.values()
            if slot.wanted and (slot.ready or (with_starting and slot.process is not None))
        ]
        self._sharing.share_out(sorted(able))

    def _send(self, worker: int, message: Message, sock: socket | None = None) -> None:
        self._slots[worker].send(message, sock)

    @property
    def _wanted(self) -> int:
        return sum(slot.wanted for slot in self._slots.values())

    def _slots_with_process(self) -> list[int]:
        return [slot.number for slot in self._slots.values() if slot.process is not None]

    def _processes(self) -> Iterable[WorkerProcess]:
        return [slot.process for slot in self._slots.values() if slot.process is not None]

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a message or a death brings about."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()
