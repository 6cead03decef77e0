from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, fields

import pytest

from tcplb.control.scoreboard import Layout, Scoreboard
from tcplb.dataplane.counters import BackendCounters, Counters

SLOTS, BACKENDS, POOLS, LISTENERS = 3, 5, 2, 4
LAYOUT = Layout(BACKENDS, POOLS, LISTENERS)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard.create(SLOTS, LAYOUT)
    yield made
    made.close()


def counters(start: int) -> Counters:
    """Counters with a different number in each."""
    return Counters(*range(start, start + len(fields(Counters))))


def backend_counters(start: int) -> list[BackendCounters]:
    size = len(fields(BackendCounters))
    starts = range(start, start + BACKENDS * size, size)
    return [BackendCounters(*range(first, first + size)) for first in starts]


def summed(*parts: Counters) -> Counters:
    return Counters(*(sum(cells) for cells in zip(*map(astuple, parts), strict=True)))


def test_a_new_one_is_all_zeros(board: Scoreboard) -> None:
    assert board.totals() == Counters()
    assert [board.backend_totals(position) for position in range(BACKENDS)] == [
        BackendCounters()
    ] * BACKENDS
    assert [board.heartbeat(slot) for slot in range(SLOTS)] == [0.0] * SLOTS


def test_sums_are_over_all_workers_and_cells_do_not_mix(board: Scoreboard) -> None:
    published = [counters(100), counters(1000), counters(10_000)]
    for slot, each in enumerate(published):
        board.publish(slot, 7.5 + slot, each, backend_counters(100_000 * (slot + 1)))
    assert board.totals() == summed(*published)
    for position in range(BACKENDS):
        parts = [astuple(backend_counters(100_000 * (n + 1))[position]) for n in range(SLOTS)]
        expected = BackendCounters(*(sum(cells) for cells in zip(*parts, strict=True)))
        assert board.backend_totals(position) == expected
    assert [board.heartbeat(slot) for slot in range(SLOTS)] == [7.5, 8.5, 9.5]
    assert [board.sessions(slot) for slot in range(SLOTS)] == [each.active for each in published]
    assert sum(board.seats()) == 0
    assert [sum(board.active(position)) for position in range(BACKENDS)] == [0] * BACKENDS


def test_a_worker_that_publishes_again_replaces_what_it_said(board: Scoreboard) -> None:
    board.publish(1, 1.0, counters(100), backend_counters(5))
    board.publish(1, 2.0, counters(200), backend_counters(50))
    assert board.totals() == counters(200)
    assert board.backend_totals(2) == backend_counters(50)[2]


def test_another_process_that_maps_it_sees_the_same(board: Scoreboard) -> None:
    other = Scoreboard(board.descriptor, SLOTS, LAYOUT)
    other.publish(2, 1.0, counters(1), backend_counters(1))
    other.active(4)[2] += 3
    other.seats()[2] += 5
    assert board.totals() == counters(1)
    assert sum(board.active(4)) == 3
    assert sum(board.seats()) == 5


def test_the_totals_of_one_that_is_gone_stay_and_its_gauges_go(board: Scoreboard) -> None:
    for slot in range(SLOTS):
        board.publish(slot, 9.0, counters(10), backend_counters(10))
        board.seats()[slot] = 4
        for position in range(BACKENDS):
            board.active(position)[slot] = 6
    before = board.totals()
    board.retire(1)
    after = board.totals()
    assert after.active == before.active - counters(10).active
    after.active = before.active
    assert after == before
    assert board.backend_totals(3).bytes_down == 3 * backend_counters(10)[3].bytes_down
    assert sum(board.seats()) == 2 * 4
    assert [sum(board.active(position)) for position in range(BACKENDS)] == [2 * 6] * BACKENDS
    assert (board.heartbeat(1), board.sessions(1)) == (0.0, 0)
    # The next one in that slot begins at 0 and adds to what there was.
    board.publish(1, 1.0, counters(1), backend_counters(0))
    board.retire(1)
    assert board.totals().accepted == before.accepted + counters(1).accepted


def test_two_workers_never_write_to_one_cache_line(board: Scoreboard) -> None:
    for column in (board.seats(), board.active(0)):
        assert column.strides is not None
        assert column.strides[0] % 64 == 0


def columns(board: Scoreboard) -> list[memoryview]:
    """Every column that is written at once."""
    return [
        board.seats(),
        *(board.active(position) for position in range(BACKENDS)),
        *(board.pool_active(pool) for pool in range(POOLS)),
        *(board.listener_seats(listener) for listener in range(LISTENERS)),
        *(board.listener_started(listener) for listener in range(LISTENERS)),
        *(board.listener_rate_base(listener) for listener in range(LISTENERS)),
    ]


def test_no_two_columns_share_a_cell_and_totals_leave_them_alone(board: Scoreboard) -> None:
    for number, column in enumerate(columns(board), start=1):
        for slot in range(SLOTS):
            column[slot] = number * 10 + slot
    for slot in range(SLOTS):
        board.publish(slot, 1.0, counters(5), backend_counters(5))
    board.events()[:] = memoryview(bytearray(len(board.events()) * 8)).cast("q")
    for number, column in enumerate(columns(board), start=1):
        assert list(column) == [number * 10 + slot for slot in range(SLOTS)] + [0]


def test_what_a_worker_holds_goes_with_it_and_that_of_the_others_stays(board: Scoreboard) -> None:
    for column in columns(board):
        column[0] = column[1] = 7
    board.retire(0)
    for column in columns(board):
        assert list(column) == [0, 7, 0, 0]
