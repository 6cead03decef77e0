from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcplb.control.leaving import Leaving
from tcplb.control.numbering import Numbering
from tcplb.control.plan import new_numbering
from tcplb.control.scoreboard import BACKEND, POOL, Layout, Scoreboard

LAYOUT = Layout(4, 4, 4, 4, 4)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard.create(3, LAYOUT)
    yield made
    made.close()


class Supervisor:
    """Goes from plan to plan, each of which has some backends."""

    def __init__(self, board: Scoreboard, *backends: str) -> None:
        numbering = new_numbering(LAYOUT)
        numbering.backends.assign(backends)
        self.leaving = Leaving(numbering, board)
        self.generation = 0

    @property
    def numbering(self) -> Numbering:
        return self.leaving.numbering

    def plan(self, *backends: str, workers: tuple[int, ...] = (0, 1)) -> None:
        numbering = self.numbering.copy()
        numbering.backends.assign(backends)
        self.generation += 1
        self.leaving.begin(numbering, self.generation, workers)

    def unused(self, worker: int, *numbers: int, generation: int | None = None) -> None:
        told = self.generation if generation is None else generation
        self.leaving.unused(worker, told, [(BACKEND, number) for number in numbers])

    @property
    def left(self) -> dict[object, int]:
        return self.numbering.backends.leaving


def test_a_number_is_free_when_all_workers_have_said_so(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a")
    board.active(1)[2] = 5
    board.active(0)[2] = 5
    supervisor.unused(0, 1)
    assert supervisor.left == {"b": 1}
    supervisor.unused(0, 1)  # which is no news
    assert supervisor.left == {"b": 1}
    supervisor.unused(1, 1)
    assert supervisor.left == {}
    assert (list(board.active(1)), list(board.active(0))) == ([0] * 4, [0, 0, 5, 0])
    supervisor.plan("a", "c")
    assert supervisor.numbering.backends["c"] == 1


def test_a_worker_that_is_gone_needs_say_nothing(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b", "c")
    supervisor.plan("a")
    supervisor.unused(0, 1)
    supervisor.leaving.gone(1)
    assert supervisor.left == {"c": 2}
    supervisor.leaving.gone(0)
    assert supervisor.left == {}


def test_without_workers_all_is_free_at_once(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("b", workers=())
    assert supervisor.left == {}


def test_what_is_in_use_is_never_free(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a", "b", "c")
    board.active(1)[0] = 3
    supervisor.unused(0, 0, 1, 2)
    supervisor.unused(1, 0, 1, 2)
    assert supervisor.numbering.backends.in_use == {"a": 0, "b": 1, "c": 2}
    assert board.active(1)[0] == 3


def test_what_was_said_when_it_was_gone_before_does_not_count(board: Scoreboard) -> None:
    """It was back in between: the worker may use it again, and will say so again."""
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a", workers=(0,))
    supervisor.plan("a", "b", workers=(0,))
    supervisor.plan("a", workers=(0,))
    supervisor.unused(0, 1, generation=1)
    assert supervisor.left == {"b": 1}
    supervisor.unused(0, 1, generation=3)
    assert supervisor.left == {}


def test_what_was_said_in_time_counts_over_other_plans(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a")
    supervisor.unused(0, 1)
    supervisor.plan("a", "c")
    supervisor.unused(1, 1, generation=1)
    assert supervisor.left == {}


def test_only_those_who_were_there_are_waited_for(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a", workers=(0,))
    supervisor.plan("a", "c", workers=(0, 1))  # a second one has been started since
    supervisor.unused(0, 1)
    assert supervisor.left == {}


def test_what_came_and_went_while_a_worker_started_is_not_waited_for(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a", "c")
    supervisor.plan("a")
    supervisor.unused(0, 1, 2)
    assert supervisor.left == {"b": 1, "c": 2}
    supervisor.leaving.follows(1, 2, [(BACKEND, 1)])  # it has never heard of the plan with "c"
    assert supervisor.left == {"b": 1}
    supervisor.unused(1, 1)
    assert supervisor.left == {}


def test_to_follow_an_older_plan_says_nothing_of_what_has_left_since(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    supervisor.plan("a", "b", "c", workers=(0,))
    supervisor.plan("a", workers=(0,))
    supervisor.leaving.follows(0, 1, [])
    assert supervisor.left == {"b": 1, "c": 2}


def test_each_kind_has_numbers_of_its_own(board: Scoreboard) -> None:
    supervisor = Supervisor(board, "a", "b")
    numbering = supervisor.numbering.copy()
    numbering.pools.assign(["web", "mail"])
    supervisor.leaving.begin(numbering, 1, [0])
    numbering = supervisor.numbering.copy()
    numbering.pools.assign(["web"])
    numbering.backends.assign(["a"])
    supervisor.leaving.begin(numbering, 2, [0])
    board.pool_active(1)[0] = board.active(1)[0] = 4
    supervisor.leaving.unused(0, 2, [(POOL, 1)])
    assert supervisor.left == {"b": 1}
    assert supervisor.numbering.pools.leaving == {}
    assert (board.pool_active(1)[0], board.active(1)[0]) == (0, 4)
    assert supervisor.leaving.tops == [2, 2, 0, 0, 0]
