from __future__ import annotations

from hypothesis import given, settings

from tcplb.policy.backend import Backend
from tcplb.policy.first import First
from tests.policy.backends import backend_lists, names, weighted


@given(backend_lists())
@settings(max_examples=30, deadline=None)
def test_the_order_is_the_one_given_without_weight_0_every_time(backends: list[Backend]) -> None:
    strategy = First(backends)
    for key in (b"", b"one", b"other"):
        assert list(strategy.order(key, 1.0)) == [one for one in backends if one.weight > 0]


def test_all_is_meant_for_the_first_one_of_positive_weight() -> None:
    strategy = First(weighted(a=0, b=1, c=9))
    assert strategy.shares() == {"b": 1.0, "c": 0.0}
    assert names(strategy.order()) == ["b", "c"]


def test_nothing_is_left_when_nobody_has_a_weight() -> None:
    strategy = First(weighted(a=0))
    assert list(strategy.order()) == []
    assert strategy.shares() == {}
