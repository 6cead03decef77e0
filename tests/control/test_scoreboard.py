from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, fields
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.scoreboard import (
    BACKEND,
    LISTENER,
    POOL,
    RATE,
    ROUTE,
    Layout,
    Scoreboard,
)
from tcplb.dataplane.counters import Counters, QueueCounters, RouteCounters
from tcplb.dataplane.termination import Termination

SLOTS = 3
LAYOUT = Layout(backends=5, pools=2, listeners=4, rates=3, routes=6)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard.create(SLOTS, LAYOUT)
    yield made
    made.close()


def counters(start: int) -> Counters:
    """Counters with a different number in each."""
    return Counters(*range(start, start + len(fields(Counters))))


def summed(*parts: Counters) -> Counters:
    return Counters(*(sum(cells) for cells in zip(*map(astuple, parts), strict=True)))


def columns(board: Scoreboard) -> dict[tuple[int, int], list[memoryview]]:
    """Every column that carries a limit, by the kind and number of what it is of."""
    return {
        **{(BACKEND, n): [board.active(n)] for n in range(LAYOUT.backends)},
        **{(POOL, n): [board.pool_active(n)] for n in range(LAYOUT.pools)},
        **{(LISTENER, n): [board.listener_seats(n)] for n in range(LAYOUT.listeners)},
        **{(RATE, n): [board.rate_started(n), board.rate_base(n)] for n in range(LAYOUT.rates)},
    }


def all_columns(board: Scoreboard) -> list[memoryview]:
    return [board.seats(), *(each for both in columns(board).values() for each in both)]


def count_something(board: Scoreboard, slot: int, route: int, pool: int) -> None:
    """Add to every cell of a route and of a queue that can be added to."""
    counted = board.route(slot, route)
    counted.count_connect(0.002)
    counted.count_failure()
    counted.count_retry()
    counted.count_bytes(10, 20)
    counted.count_end(Termination.NORMAL, 1.5)
    queue = board.queue(slot, pool)
    queue.waiting += 1
    queue.count_wait(0.25)


def seen_of_route(route: RouteCounters) -> list[object]:
    return [
        route.connections,
        route.connect_failures,
        route.retries,
        route.bytes_up,
        route.bytes_down,
        route.connect_seconds,
        route.session_seconds,
        sum(route.connect_buckets),
        sum(route.session_buckets),
        route.terminations[Termination.NORMAL.number],
        sum(route.terminations),
    ]


def seen_of_queue(queue: QueueCounters) -> list[object]:
    return [queue.waiting, queue.wait_seconds, sum(queue.wait_buckets)]


ONE_ROUTE = [1, 1, 1, 10, 20, 0.002, 1.5, 1, 1, 1, 1]
ONE_QUEUE = [1, 0.25, 1]


def times(number: int, seen: list[float]) -> list[object]:
    return [pytest.approx(number * each) for each in seen]


# -- totals ---------------------------------------------------------------------------------------


def test_a_new_one_is_all_zeros(board: Scoreboard) -> None:
    assert board.totals() == Counters()
    assert not any(any(column) for column in all_columns(board))
    assert [board.heartbeat(slot) for slot in range(SLOTS)] == [0.0] * SLOTS
    assert seen_of_route(board.route_totals(5)) == [0] * 11
    assert seen_of_queue(board.queue_totals(1)) == [0] * 3


def test_sums_are_over_all_workers(board: Scoreboard) -> None:
    published = [counters(100), counters(1000), counters(10_000)]
    for slot, each in enumerate(published):
        board.publish(slot, 7.5 + slot, each, [(1, 10 + slot), (3, 2)])
        board.set_lag(slot, 0.25 * slot)
    assert board.totals() == summed(*published)
    assert [board.heartbeat(slot) for slot in range(SLOTS)] == [7.5, 8.5, 9.5]
    assert [board.lag(slot) for slot in range(SLOTS)] == [0, 0.25, 0.5]
    assert [board.sessions(slot) for slot in range(SLOTS)] == [each.active for each in published]
    assert [board.listener_active(number) for number in range(4)] == [0, 33, 0, 6]


def test_what_is_counted_by_route_and_by_queue_is_there_at_once(board: Scoreboard) -> None:
    for slot in range(SLOTS):
        count_something(board, slot, route=2, pool=1)
    assert seen_of_route(board.route_totals(2)) == times(3, ONE_ROUTE)
    assert seen_of_queue(board.queue_totals(1)) == times(3, ONE_QUEUE)
    for other in (1, 3):
        assert seen_of_route(board.route_totals(other)) == [0] * 11
    assert seen_of_queue(board.queue_totals(0)) == [0] * 3
    assert seen_of_route(board.route(1, 2)) == times(1, ONE_ROUTE)


def test_a_worker_that_publishes_again_replaces_what_it_said(board: Scoreboard) -> None:
    board.publish(1, 1.0, counters(100), [(2, 7)])
    board.publish(1, 2.0, counters(200), [(2, 5)])
    assert board.totals() == counters(200)
    assert board.listener_active(2) == 5


def test_another_process_that_maps_it_sees_the_same(board: Scoreboard) -> None:
    other = Scoreboard(board.descriptor, SLOTS, LAYOUT)
    other.publish(2, 1.0, counters(1))
    other.active(4)[2] += 3
    other.seats()[2] += 5
    count_something(other, 2, route=5, pool=1)
    assert board.totals() == counters(1)
    assert sum(board.active(4)) == 3
    assert sum(board.seats()) == 5
    assert seen_of_route(board.route_totals(5)) == times(1, ONE_ROUTE)


# -- cells ----------------------------------------------------------------------------------------


def test_two_workers_never_write_to_one_cache_line(board: Scoreboard) -> None:
    for column in (board.seats(), board.active(0)):
        assert column.strides is not None
        assert column.strides[0] % 64 == 0


def test_no_two_things_share_a_cell(board: Scoreboard) -> None:
    for number, column in enumerate(all_columns(board), start=1):
        for slot in range(SLOTS):
            column[slot] = number * 10 + slot
    for slot in range(SLOTS):
        board.set_lag(slot, 1.0)
        board.publish(slot, 1.0, counters(5), [(n, 1_000) for n in range(LAYOUT.listeners)])
        for route in range(LAYOUT.routes):
            count_something(board, slot, route, pool=route % LAYOUT.pools)
    for number, column in enumerate(all_columns(board), start=1):
        assert list(column) == [number * 10 + slot for slot in range(SLOTS)] + [0]
    for route in range(LAYOUT.routes):
        assert seen_of_route(board.route_totals(route)) == times(SLOTS, ONE_ROUTE)
    assert board.totals() == summed(*[counters(5)] * SLOTS)


@given(
    st.builds(
        Layout,
        backends=st.integers(1, 40),
        pools=st.integers(1, 9),
        listeners=st.integers(1, 9),
        rates=st.integers(1, 9),
        routes=st.integers(1, 9),
    )
)
def test_the_last_of_each_kind_is_inside_its_row(layout: Layout) -> None:
    board = Scoreboard.create(1, layout)
    board.active(layout.backends - 1)[0] = 1
    board.pool_active(layout.pools - 1)[0] = 2
    board.listener_seats(layout.listeners - 1)[0] = 3
    board.rate_base(layout.rates - 1)[0] = 4
    board.route(0, layout.routes - 1).count_end(Termination.BUG, 5.0)
    assert board.heartbeat(1) == 0  # the first cell of the next row
    assert board.active(layout.backends - 1)[0] == 1
    assert board.route_totals(layout.routes - 1).terminations[-1] == 1
    assert layout.width % 8 == 0
    board.close()


# -- one that is gone -----------------------------------------------------------------------------


def test_the_totals_of_one_that_is_gone_stay_and_its_gauges_go(board: Scoreboard) -> None:
    for slot in range(SLOTS):
        board.publish(slot, 9.0, counters(10), [(2, 9)])
        board.set_lag(slot, 1.0)
        count_something(board, slot, route=5, pool=1)
        for column in all_columns(board):
            column[slot] = 6
    before = board.totals()
    board.retire(1, LAYOUT.capacities)
    after = board.totals()
    assert after.active == before.active - counters(10).active
    after.active = before.active
    assert after == before
    assert seen_of_route(board.route_totals(5)) == times(3, ONE_ROUTE)
    assert seen_of_queue(board.queue_totals(1)) == [2, *times(3, ONE_QUEUE)[1:]]
    assert [list(column) for column in all_columns(board)] == [[6, 0, 6, 0]] * len(
        all_columns(board)
    )
    assert board.listener_active(2) == 18
    assert (board.heartbeat(1), board.lag(1), board.sessions(1)) == (0.0, 0.0, 0)
    # The next one in that slot begins at 0 and adds to what there was.
    assert seen_of_route(board.route(1, 5)) == [0] * 11
    board.publish(1, 1.0, counters(1))
    count_something(board, 1, route=5, pool=1)
    board.retire(1, LAYOUT.capacities)
    assert board.totals().accepted == before.accepted + counters(1).accepted
    assert seen_of_route(board.route_totals(5)) == times(4, ONE_ROUTE)


def test_only_what_is_in_use_is_looked_through(board: Scoreboard) -> None:
    for column in columns(board).values():
        column[0][0] = 7
    board.retire(0, [2, 1, 0, 3, 0])
    assert [sum(board.active(number)) for number in range(5)] == [0, 0, 7, 7, 7]
    assert [sum(board.pool_active(number)) for number in range(2)] == [0, 7]
    assert [sum(board.listener_seats(number)) for number in range(4)] == [7] * 4
    assert [sum(board.rate_started(number)) for number in range(3)] == [0] * 3


# -- another one gets the number ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BACKEND, POOL, LISTENER, RATE, ROUTE])
def test_what_is_cleared_is_0_for_all_and_nothing_else_is(board: Scoreboard, kind: int) -> None:
    for slot in range(SLOTS):
        board.publish(slot, 1.0, counters(1), [(n, 5) for n in range(LAYOUT.listeners)])
        for number in (0, 1, 0, 1):
            count_something(board, slot, route=number, pool=number)
        for column in all_columns(board):
            column[slot] = 3
    board.retire(2, LAYOUT.capacities)  # so that there is something in the last row too
    board.clear(kind, 1)
    for cells, both in columns(board).items():
        expected = [0] * 4 if cells == (kind, 1) else [3, 3, 0, 0]
        assert [list(column) for column in both] == [expected] * len(both)
    assert board.listener_active(1) == (0 if kind == LISTENER else 10)
    assert board.listener_active(0) == 10
    assert board.route_totals(1).connections == (0 if kind == ROUTE else 6)
    assert board.route_totals(0).connections == 6
    assert sum(board.queue_totals(1).wait_buckets) == (0 if kind == POOL else 6)
    assert sum(board.queue_totals(0).wait_buckets) == 6
    assert board.totals().accepted == 3 * counters(1).accepted


@given(st.randoms(use_true_random=False))
def test_retiring_over_and_over_loses_no_total(rng: Random) -> None:
    board = Scoreboard.create(SLOTS, LAYOUT)
    ends = 0
    for _ in range(20):
        slot = rng.randrange(SLOTS)
        if rng.random() < 0.7:
            board.route(slot, 3).count_end(rng.choice(list(Termination)), rng.random() * 100)
            ends += 1
        else:
            board.retire(slot, LAYOUT.capacities)
        assert sum(board.route_totals(3).terminations) == ends
        assert sum(board.route_totals(3).session_buckets) == ends
    board.close()
