"""Limits over several processes. The stress test has real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.claims import SharedCount, SharedOccupancy, SharedSeats
from tcplb.control.scoreboard import Layout, Scoreboard
from tcplb.control.shared_file import shared_file
from tests.processes import WAIT


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard.create(4, Layout(3))
    yield made
    made.close()


def test_a_limit_holds_over_all_workers(board: Scoreboard) -> None:
    counts = [SharedCount(board.seats(), slot) for slot in range(4)]
    granted = [counts[number % 4].try_add(6) for number in range(10)]
    assert granted == [True] * 6 + [False] * 4
    assert [count.total() for count in counts] == [6] * 4
    counts[1].subtract()
    assert [counts[3].try_add(6), counts[0].try_add(6)] == [True, False]


def test_without_a_limit_all_are_counted(board: Scoreboard) -> None:
    counts = [SharedCount(board.seats(), slot) for slot in range(4)]
    assert all(counts[number % 4].try_add(0) for number in range(100))
    assert counts[0].total() == 100


def occupancy(
    board: Scoreboard, slot: int, *positions: int, pool: int | None = None
) -> SharedOccupancy:
    made = SharedOccupancy(board, slot, pool)
    made.cover(positions)
    return made


def test_each_backend_of_each_pool_is_counted_by_itself(board: Scoreboard) -> None:
    one = [occupancy(board, slot, 0, 1) for slot in (0, 1)]
    other = occupancy(board, 2, 2)
    assert [one[0].try_enter(1, 2), one[1].try_enter(1, 2), one[0].try_enter(1, 2)] == [
        True,
        True,
        False,
    ]
    assert other.try_enter(2, 1)
    assert not other.try_enter(2, 1)
    assert [one[0].active(0), one[0].active(1), other.active(2)] == [0, 2, 1]
    one[1].leave(1)
    assert one[0].try_enter(1, 2)
    assert one[1].active(1) == 2


def test_seats_are_those_of_all_workers(board: Scoreboard) -> None:
    mine, others = (SharedSeats(board.seats(), slot, 2) for slot in (0, 3))
    assert [mine.try_take(), others.try_take(), mine.try_take()] == [True, True, False]
    others.give_back()
    assert mine.try_take()


def test_seats_that_are_adopted_count_be_there_room_or_not(board: Scoreboard) -> None:
    mine, others = (SharedSeats(board.seats(), slot, 2) for slot in (0, 3))
    mine.adopt(5)
    assert list(board.seats()) == [5, 0, 0, 0, 0]
    assert not others.try_take()
    mine.adopt(-4)
    assert others.try_take()
    assert not others.try_take()


def test_the_total_of_a_pool_is_counted_if_that_is_wanted(board: Scoreboard) -> None:
    one = [occupancy(board, slot, 0, 1, pool=0) for slot in (0, 1)]
    one[0].try_enter(0, 1)
    assert not one[1].try_enter(0, 1)
    one[1].try_enter(1, 0)
    assert [each.total() for each in one] == [2, 2]
    assert sum(board.pool_active(0)) == 2
    one[0].leave(0)
    assert one[1].total() == 1
    uncounted = occupancy(board, 2, 0, 1, 2)
    uncounted.try_enter(2, 0)
    assert uncounted.total() == 2
    assert [one[0].total(), sum(board.pool_active(0))] == [1, 1]


def test_a_total_begins_and_ends_with_those_who_are_inside(board: Scoreboard) -> None:
    one = [occupancy(board, slot, 0, 1) for slot in (0, 1)]
    for position in (0, 1, 1):
        one[0].try_enter(position, 0)
    one[1].try_enter(0, 0)
    for each in one:
        each.count_total(0)
        each.count_total(0)  # it does so already
    assert list(board.pool_active(0)) == [3, 1, 0, 0, 0]
    one[0].leave(1)
    one[0].count_total(None)
    one[0].count_total(None)
    assert list(board.pool_active(0)) == [0, 1, 0, 0, 0]
    one[0].leave(0)
    one[1].leave(0)
    assert list(board.pool_active(0)) == [0] * 5
    assert one[0].total() == 1


def test_what_is_covered_again_goes_on_and_what_is_forgotten_begins_anew(
    board: Scoreboard,
) -> None:
    one = occupancy(board, 0, 0, 1)
    one.try_enter(1, 0)
    one.cover([1, 2])
    assert [one.active(number) for number in range(3)] == [0, 1, 0]
    one.leave(1)
    one.forget(1)
    one.forget(1)
    board.active(1)[0] = 7  # of another pool by now
    assert one.total() == 0
    one.cover([1])
    assert one.active(1) == 7


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(0, 2)),
            st.tuples(st.just("leave"), st.integers(0, 2)),
            st.tuples(st.just("total"), st.booleans()),
        ),
        max_size=40,
    )
)
def test_a_total_is_the_sum_whenever_it_began(steps: list[tuple[str, int]]) -> None:
    board = Scoreboard.create(1, Layout(3))
    one = occupancy(board, 0, 0, 1, 2)
    inside = [0, 0, 0]
    counted = False
    for verb, number in steps:
        if verb == "total":
            counted = bool(number)
            one.count_total(0 if counted else None)
        elif verb == "enter":
            inside[number] += one.try_enter(number, 2)
        elif inside[number]:
            one.leave(number)
            inside[number] -= 1
        assert max(inside) <= 2
        assert one.total() == sum(inside)
        assert sum(board.pool_active(0)) == (sum(inside) if counted else 0)
    board.close()


def test_a_counter_follows_its_position(board: Scoreboard) -> None:
    occupancies = [occupancy(board, slot, 0, 1) for slot in (0, 1)]
    counter = occupancies[0].counter(1)
    occupancies[1].try_enter(1, 0)
    occupancies[0].try_enter(1, 0)
    occupancies[0].try_enter(0, 0)
    assert counter() == 2


HAMMER = """
import fcntl, os, sys
from tcplb.control.claims import SharedCount
from tcplb.control.scoreboard import Layout, Scoreboard

board_file, witness, slot, limit = map(int, sys.argv[1:])
count = SharedCount(Scoreboard(board_file, 4, Layout(3)).seats(), slot)

def note(change):
    # By other means than those under test: how many are held now, and the most there were.
    fcntl.lockf(witness, fcntl.LOCK_EX)
    held, most, _ = map(int, os.pread(witness, 100, 0).split(b","))
    held += change
    os.pwrite(witness, b"%d,%d,%030d" % (held, max(most, held), 0), 0)
    fcntl.lockf(witness, fcntl.LOCK_UN)

def take():
    granted = count.try_add(limit)
    if granted:
        note(+1)
    return granted

def give_back():
    note(-1)
    count.subtract()

# All but one place are taken for good, and all four want that one all the time.
kept = sum(take() for _ in range(3 if slot else 0))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100_000):
    if take():
        give_back()
for _ in range(kept):
    give_back()
"""


def test_four_processes_never_hold_more_than_the_limit_and_do_reach_it(board: Scoreboard) -> None:
    limit = 10
    witness = shared_file("witness", 0)
    os.pwrite(witness, b"0,0,%030d" % 0, 0)
    command = [sys.executable, "-c", HAMMER, str(board.descriptor), str(witness)]
    processes = [
        subprocess.Popen(
            [*command, str(slot), str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(board.descriptor, witness),
        )
        for slot in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=WAIT)
    held, most, _ = map(int, os.pread(witness, 100, 0).split(b","))
    os.close(witness)
    assert [process.returncode for process in processes] == [0] * 4
    assert (held, most) == (0, limit)
    assert sum(board.seats()) == 0
