from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.assignment import assign


def moved(before: dict[int, int], after: dict[int, int]) -> int:
    """How many sets somebody accepted on before and somebody else does after."""
    return sum(after[number] != worker for number, worker in before.items())


def is_fair(shares: dict[int, int], workers: list[int]) -> bool:
    counts = Counter(shares.values())
    held = [counts[worker] for worker in workers]
    return max(held) - min(held) <= 1


def test_each_of_the_first_workers_gets_one_set() -> None:
    assert assign(range(3), [0, 1, 2], {}) == {0: 0, 1: 1, 2: 2}


def test_nothing_moves_when_nothing_has_changed() -> None:
    now = {0: 2, 1: 0, 2: 1}
    assert assign(range(3), [0, 1, 2], now) == now


def test_the_first_that_is_ready_accepts_on_all_until_the_next_one_is() -> None:
    alone = assign(range(2), [1], {})
    assert alone == {0: 1, 1: 1}
    assert sorted(assign(range(2), [0, 1], alone).values()) == [0, 1]


def test_the_sets_of_one_that_left_go_to_the_others() -> None:
    assert assign(range(2), [1], {0: 0, 1: 1}) == {0: 1, 1: 1}


def test_without_workers_nobody_accepts() -> None:
    assert assign(range(2), [], {0: 0, 1: 1}) == {}


small = st.integers(0, 5)


@given(
    sets=small,
    workers=st.sets(small, min_size=1),
    current=st.dictionaries(small, small),
)
def test_every_set_has_one_worker_and_the_load_is_even(
    sets: int, workers: set[int], current: dict[int, int]
) -> None:
    shares = assign(range(sets), sorted(workers), current)
    assert set(shares) == set(range(sets))
    assert set(shares.values()) <= workers
    assert is_fair(shares, sorted(workers))


@given(sets=st.integers(1, 4), workers=st.sets(st.integers(0, 3), min_size=1), data=st.data())
def test_no_fair_assignment_moves_fewer_sets(
    sets: int, workers: set[int], data: st.DataObject
) -> None:
    able = sorted(workers)
    held = data.draw(st.dictionaries(st.integers(0, sets - 1), st.sampled_from(able)))
    every = (dict(enumerate(choice)) for choice in product(able, repeat=sets))
    fewest = min(moved(held, shares) for shares in every if is_fair(shares, able))
    assert moved(held, assign(range(sets), able, held)) == fewest
