from __future__ import annotations

import pytest

from tcplb.policy.load import Load, shares_by_weight
from tcplb.policy.occupancy import LocalOccupancy
from tests.policy.backends import named, weighted


def test_counts_are_those_of_the_positions_given_and_always_current() -> None:
    occupancy = LocalOccupancy(5)
    load = Load(named("a", "b"), occupancy, [3, 1])
    assert [count() for count in load.counts] == [0, 0]
    occupancy.try_enter(3, 0)
    occupancy.try_enter(3, 0)
    occupancy.try_enter(1, 0)
    occupancy.try_enter(0, 0)
    assert [count() for count in load.counts] == [2, 1]
    occupancy.leave(3)
    assert load.counts[0]() == 1


def test_effective_weights_begin_as_configured() -> None:
    assert Load(weighted(a=3, b=0, c=1), LocalOccupancy(3), range(3)).weights == [3.0, 0.0, 1.0]


def test_each_backend_needs_a_position() -> None:
    with pytest.raises(ValueError, match="2 backends at 1 positions"):
        Load(named("a", "b"), LocalOccupancy(2), [0])


def test_shares_are_weights_over_their_sum() -> None:
    assert shares_by_weight(weighted(a=3, b=1, c=0)) == {"a": 0.75, "b": 0.25}
    assert shares_by_weight(weighted(a=0)) == {}
