"""What an operator does to a running balancer: reload, and changes at run time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tcplb.config.changes import RuntimeChange
from tcplb.config.runtime_change import SetState, target_of
from tcplb.control.configuration import Configuration, Proposal
from tcplb.control.drains import Drains
from tcplb.control.serving import Serving
from tcplb.control.watch import Watch
from tcplb.errors import ChangeError, ConfigError, TcplbError

log = logging.getLogger("tcplb.reload")


@dataclass(slots=True)
class Reloads:
    """How the reloads went, runtime changes included."""

    succeeded: int = 0
    failed: int = 0
    last_at: float | None = None
    """Seconds since the epoch."""
    last_error: str | None = None
    """What was wrong with the last reload; None if it was in order. No runtime change mends that:
    the file would still be wrong at the next start."""


class Operator:
    """Carries out one change after the other; nothing is ever half done."""

    def __init__(
        self, configuration: Configuration, serving: Serving, *, reload_soon: Callable[[], None]
    ) -> None:
        """Call `reload_soon` when the file has changed, if that is wanted."""
        self.configuration = configuration
        self._serving = serving
        self.reloads = Reloads()
        self.drains = Drains(serving.crew, serving.events)
        self.drains.update(serving.config)
        self._watch = Watch(configuration.source.file, reload_soon)
        self._watch.set(on=serving.config.watch, seen=configuration.seen)
        self._turn = asyncio.Lock()
        self.why_not = ""
        """Why nothing may be changed at the moment; empty if it may."""

    async def reload(self, *, dry_run: bool = False, discard_changes: bool = False) -> Proposal:
        """Load the settings again and serve by them; return what that has changed.

        Raises ConfigError, ChangeError, BindError or StrategyError if it cannot be done: then
        nothing has changed, and the log says why.
        """
        async with self._turn:
            try:
                proposal = await self._load(discard_changes=discard_changes)
                if not dry_run:
                    proposal = await self._carry_out(proposal, "reloaded")
                    self.reloads.last_error = None
            except TcplbError as error:
                if not dry_run:
                    self._failed("reload", error)
                    self.reloads.last_error = str(error)
                raise
            finally:
                if not dry_run:  # or what is wrong would be told once more
                    self._watch.saw(self.configuration.seen)
        return proposal

    async def _load(self, *, discard_changes: bool) -> Proposal:
        self._check_permission()
        # In a thread: meanwhile workers are replaced, and the admin port answers.
        proposal = await asyncio.to_thread(
            self.configuration.propose_reload, discard_changes=discard_changes
        )
        self._check_permission()
        return proposal

    async def change(self, change: RuntimeChange, *, timeout: float | None = None) -> Proposal:
        """Make a runtime change; return what it has changed. Raises as `reload` does.

        If it drains a backend, `timeout` is how many seconds the sessions have that are open.
        """
        async with self._turn:
            self._check_permission()
            proposal = self.configuration.propose_change(change)
            try:
                proposal = await self._carry_out(proposal, "changed at run time")
            except TcplbError as error:
                self._failed(str(change), error)
                raise
            pool, backend = target_of(change)
            if isinstance(change, SetState) and self.drains.get(pool, backend) is not None:
                self.drains.set_timeout(pool, backend, timeout)
            self._serving.events.add("operator", str(change), pool=pool, backend=backend)
        return proposal

    async def save(self) -> list[str]:
        """Write the runtime changes into the file; return them in words.

        Raises ChangeError and ConfigError.
        """
        async with self._turn:
            self._check_permission()
            saved = await asyncio.to_thread(self.configuration.save)
        if saved:
            log.info("saved %d changes to %s", len(saved), self.configuration.source.file)
            self._serving.events.add("operator", f"saved {len(saved)} changes to the file")
        return saved

    async def stand_still(self, why: str) -> None:
        """Change nothing from now on, because of `why`; return when what is under way is done."""
        self.why_not = why
        async with self._turn:
            pass

    async def close(self) -> None:
        """End what is under way."""
        await self._watch.close()
        await self.drains.close()

    def _check_permission(self) -> None:
        if self.why_not:
            raise ChangeError(self.why_not)

    async def _carry_out(self, proposal: Proposal, what: str) -> Proposal:
        """Serve by it; return it with what is not as it should be yet among its notes."""
        before = self._serving.config
        late = await self._serving.apply(proposal.config)
        self.configuration.take_over(proposal)
        self.drains.update(proposal.config)
        self._watch.set(on=proposal.config.watch, seen=self.configuration.seen)
        self.reloads.succeeded += 1
        self.reloads.last_at = time.time()
        proposal = replace(proposal, notes=(*proposal.notes, *late))
        self._report(what, proposal)
        known = {listener.bind for listener in before.listeners}
        for listener in proposal.config.listeners:
            if listener.bind not in known:
                self._serving.report(listener)
        return proposal

    def _report(self, what: str, proposal: Proposal) -> None:
        """Say what has changed, one line each."""
        changes = proposal.difference.changes
        summary = f"{what}: {len(changes) or 'no'} change{'' if len(changes) == 1 else 's'}"
        log.info(summary)
        self._serving.events.add("reload", summary)
        for change in changes:
            (log.warning if change.reason else log.info)("%s", change)
        for note in proposal.notes:
            log.warning("%s", note)

    def _failed(self, what: str, error: TcplbError) -> None:
        self.reloads.failed += 1
        self.reloads.last_at = time.time()
        problems = error.problems if isinstance(error, ConfigError) else [error]
        log.error("%s failed, nothing has changed:", what)
        for problem in problems:
            log.error("  %s", problem)
        self._serving.events.add("reload", f"{what} failed: {problems[0]}")
