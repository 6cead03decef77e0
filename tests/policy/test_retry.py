from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.retry import RetryBudget, RetryPolicy


def fill(budget: RetryBudget, active: int) -> int:
    """Begin retries until there is no room; return how many are under way."""
    while budget.try_begin(active):
        pass
    return budget.retrying


def test_by_default_a_session_dials_each_backend_once() -> None:
    assert all(RetryPolicy().allows(attempts) for attempts in range(1000))


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_the_dials_of_one_session_the_first_one_included(attempts: int) -> None:
    policy = RetryPolicy(attempts=attempts)
    assert [policy.allows(dialled) for dialled in range(attempts + 2)] == [
        *[True] * attempts,
        False,
        False,
    ]


def test_by_default_a_fifth_of_the_sessions_may_be_trying_again_and_3_in_any_case() -> None:
    assert (RetryPolicy().budget_percent, RetryPolicy().budget_min) == (20, 3)


@pytest.mark.parametrize(
    ("active", "retries"),
    [(0, 3), (1, 3), (15, 3), (19, 3), (20, 4), (24, 4), (25, 5), (1000, 200)],
)
def test_there_is_room_for_a_fifth_of_those_that_are_open(active: int, retries: int) -> None:
    assert fill(RetryBudget(RetryPolicy()), active) == retries


def test_a_retry_that_is_over_makes_room_for_one() -> None:
    budget = RetryBudget(RetryPolicy())
    fill(budget, 0)
    budget.end()
    assert budget.retrying == 2
    assert budget.has_room(0)
    assert budget.try_begin(0)
    assert not budget.try_begin(0)
    assert not budget.has_room(0)


def test_to_ask_whether_there_is_room_takes_none() -> None:
    budget = RetryBudget(RetryPolicy())
    assert all(budget.has_room(0) for _ in range(10))
    assert budget.retrying == 0


def test_what_is_refused_is_not_counted() -> None:
    budget = RetryBudget(RetryPolicy(budget_min=1))
    assert [budget.try_begin(0) for _ in range(5)] == [True, False, False, False, False]
    assert budget.retrying == 1


def test_when_sessions_end_nobody_is_called_back_but_nobody_else_may_begin() -> None:
    budget = RetryBudget(RetryPolicy())
    fill(budget, 100)
    assert (budget.retrying, budget.has_room(50)) == (20, False)
    for _ in range(11):
        budget.end()
    assert budget.has_room(50)


def test_a_budget_of_nothing_lets_nobody_retry() -> None:
    budget = RetryBudget(RetryPolicy(budget_percent=0, budget_min=0))
    assert fill(budget, 1_000_000) == 0


@given(st.integers(0, 100), st.integers(0, 10), st.lists(st.integers(-300, 300)))
def test_it_never_lets_more_begin_than_the_budget_has(
    percent: int, least: int, moves: list[int]
) -> None:
    budget = RetryBudget(RetryPolicy(budget_percent=percent, budget_min=least))
    under_way = 0
    for move in moves:
        if move < 0 and under_way:
            budget.end()
            under_way -= 1
        elif move >= 0:
            allowed = under_way + 1 <= max(least, int(move * percent / 100))
            assert budget.has_room(move) == allowed
            assert budget.try_begin(move) == allowed
            under_way += allowed
        assert budget.retrying == under_way
