from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.slow_start import FLOOR, share_after


@pytest.mark.parametrize(
    ("seconds", "share"),
    [(0.0, 0.1), (0.5, 0.1), (1.0, 0.1), (2.0, 0.2), (5.0, 0.5), (9.9, 0.99), (10.0, 1.0)],
)
def test_it_grows_linearly_from_the_floor_on(seconds: float, share: float) -> None:
    assert share_after(seconds, 10.0) == pytest.approx(share)


def test_the_floor_is_10_percent() -> None:
    assert FLOOR == 0.1


def test_from_the_end_of_the_window_on_it_is_all() -> None:
    assert share_after(10.0, 10.0) == share_after(1e9, 10.0) == 1.0


def test_without_a_window_it_is_all_at_once() -> None:
    assert share_after(0.0, 0.0) == 1.0


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.001, 1e5))
def test_it_never_shrinks_and_stays_in_its_bounds(one: float, other: float, window: float) -> None:
    earlier, later = sorted((one, other))
    assert FLOOR <= share_after(earlier, window) <= share_after(later, window) <= 1.0
