from __future__ import annotations

from tcplb.control.backoff import HEALTHY_LIFE, Backoff

LONG = HEALTHY_LIFE


def test_the_death_of_a_worker_that_served_for_long_costs_nothing() -> None:
    backoff = Backoff()
    assert [backoff.after_death(LONG), backoff.after_death(10 * LONG)] == [0.0, 0.0]


def test_each_early_death_in_a_row_doubles_the_wait_up_to_half_a_minute() -> None:
    backoff = Backoff()
    waits = [backoff.after_death(served) for served in (None, 0.0, LONG - 0.001, *[None] * 6)]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_it_stays_so_for_ever() -> None:
    backoff = Backoff()
    assert {backoff.after_death(None) for _ in range(5000)} >= {30.0}
    assert backoff.delay == 30.0


def test_a_healthy_life_is_a_new_beginning() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after_death(None)
    assert backoff.after_death(LONG) == 0
    assert backoff.delay == 0
    assert backoff.after_death(None) == 0.25
