"""Cells of the scoreboard whose owners were removed: when they are free for others.

Sessions live on after a reload, and count in cells that the new plan has not got. Each worker says
when it will not write to one any more; when all have said so, or have ended, the cell is cleared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tcplb.control.numbering import Numbering
from tcplb.control.scoreboard import Scoreboard

Cells = tuple[int, int]


@dataclass(slots=True)
class _Farewell:
    """The workers that may still write to some cells."""

    since: int
    """The generation of the plan that was the first without them."""
    workers: set[int]


class Leaving:
    """All that is leaving, and the numbering that is in force."""

    def __init__(self, numbering: Numbering, board: Scoreboard) -> None:
        self.numbering = numbering
        self._board = board
        self._farewells: dict[Cells, _Farewell] = {}

    @property
    def tops(self) -> list[int]:
        """How many numbers of each kind are in use, or have been."""
        return [numbers.top for numbers in self.numbering.each()]

    def begin(self, numbering: Numbering, generation: int, workers: Collection[int]) -> None:
        """Go by another numbering, that of the plan `generation`, which `workers` will hear of."""
        self.numbering = numbering
        leaving = {
            (kind, number)
            for kind, numbers in enumerate(numbering.each())
            for number in numbers.leaving.values()
        }
        new = {cells: _Farewell(generation, set(workers)) for cells in leaving}
        self._farewells = {cells: self._farewells.get(cells, new[cells]) for cells in leaving}
        self._settle(leaving)

    def unused(self, worker: int, generation: int, cells: Iterable[Cells]) -> None:
        """Hear from a worker, whose plan is that of `generation`, what it is done with."""
        told = [each for each in cells if each in self._farewells]
        for each in told:
            farewell = self._farewells[each]
            # What it said of an older plan is not about this farewell: the thing was back since.
            if generation >= farewell.since:
                farewell.workers.discard(worker)
        self._settle(told)

    def follows(self, worker: int, generation: int, leaving: Iterable[Cells]) -> None:
        """Hear that a worker goes by the plan `generation`, and what it is not done with.

        It may never have known of other things: of those in plans that came and went while it
        was starting, it will say nothing.
        """
        self.unused(worker, generation, set(self._farewells).difference(leaving))

    def gone(self, worker: int) -> None:
        """Note that a worker has ended."""
        for farewell in self._farewells.values():
            farewell.workers.discard(worker)
        self._settle(tuple(self._farewells))

    def _settle(self, cells: Iterable[Cells]) -> None:
        kinds = self.numbering.each()
        for kind, number in cells:
            if not self._farewells[kind, number].workers:
                del self._farewells[kind, number]
                self._board.clear(kind, number)
                kinds[kind].free(number)
