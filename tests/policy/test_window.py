from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.window import FailureWindow

LENGTHS = st.sampled_from([0.1, 1.0, 10.0, 3600.0])
STEPS = st.floats(0.0, 2.0)
"""Parts of the window between two connects."""


def test_it_counts_failures_and_all() -> None:
    window = FailureWindow(10.0)
    for failed in (True, False, True):
        window.add(1.0, failed=failed)
    assert window.counts(1.0) == (2, 3)


def test_it_is_empty_at_first_and_after_it_has_forgotten() -> None:
    window = FailureWindow(10.0)
    assert window.counts(0.0) == (0, 0)
    window.add(100.0, failed=True)
    window.clear()
    assert window.counts(100.0) == (0, 0)


@pytest.mark.parametrize("now", [0.0, 3.0, 8.5])
def test_it_forgets_as_well_on_a_clock_that_has_just_begun(now: float) -> None:
    window = FailureWindow(10.0)
    window.add(now, failed=True)
    window.clear()
    assert window.counts(now) == (0, 0)
    window.add(now, failed=False)
    assert window.counts(now) == (0, 1)


def test_what_is_older_than_the_window_is_gone_part_by_part() -> None:
    window = FailureWindow(10.0)
    for second in range(10):
        window.add(20.5 + second, failed=second < 5)
    assert window.counts(29.9) == (5, 10)
    assert window.counts(30.0) == (4, 9)
    assert window.counts(33.9) == (1, 6)
    assert window.counts(34.0) == (0, 5)
    assert window.counts(40.0) == (0, 0)


def test_a_part_that_comes_round_again_begins_at_0() -> None:
    window = FailureWindow(10.0)
    window.add(20.5, failed=True)
    window.add(30.5, failed=False)  # in the same place
    assert window.counts(30.5) == (0, 1)
    window.add(1000.5, failed=True)
    assert window.counts(1000.5) == (1, 1)


@given(
    LENGTHS,
    st.floats(0.0, 1e6),
    st.lists(st.tuples(STEPS, st.booleans(), st.booleans()), max_size=40),
)
def test_it_looks_back_between_nine_tenths_of_its_length_and_all_of_it(
    length: float, begin: float, connects: list[tuple[float, bool, bool]]
) -> None:
    window, now, seen = FailureWindow(length), begin, list[tuple[float, bool]]()
    for step, failed, forgets in connects:
        now += step * length
        if forgets and failed:
            window.clear()
            seen.clear()
        window.add(now, failed=failed)
        seen.append((now, failed))
        counted_failed, counted = window.counts(now)
        # A hair's breadth either way: the parts' borders are rounded as floats are.
        certain = [one for at, one in seen if now - at < length * 0.9 * (1 - 1e-6) - 1e-6]
        possible = [one for at, one in seen if now - at < length * (1 + 1e-6) + 1e-6]
        assert len(certain) <= counted <= len(possible)
        assert sum(certain) <= counted_failed <= sum(possible)
        assert counted_failed <= counted
