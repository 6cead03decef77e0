from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.reports.spread import complete, imbalance
from tcplb.loadgen.tally import Served

requests = st.lists(st.integers(0, 10**9), min_size=1, max_size=20)


def backends(*requests: int) -> dict[str, Served]:
    return {f"b{number}": Served(count, count) for number, count in enumerate(requests)}


def test_who_got_nothing_is_there_too_and_all_are_in_order() -> None:
    served = {"c": Served(1, 2), "a": Served(3, 4)}
    everyone = complete(served, ["b", "a"])
    assert list(everyone.items()) == [("a", Served(3, 4)), ("b", Served()), ("c", Served(1, 2))]
    assert set(served) == {"a", "c"}


def test_nobody_is_known_to_be_there() -> None:
    assert complete({}, []) == {}


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (backends(5), 1.0),
        (backends(7, 7, 7), 1.0),
        (backends(3, 1), 1.5),
        (backends(9, 0, 0), 3.0),
        (backends(1, 2, 3), 1.5),
        (backends(0, 0), None),
        ({}, None),
    ],
)
def test_the_most_requests_of_one_over_their_mean(
    served: dict[str, Served], expected: float | None
) -> None:
    assert imbalance(served) == expected


@given(requests)
def test_an_imbalance_lies_between_1_and_the_number_of_backends(counts: list[int]) -> None:
    value = imbalance(backends(*counts))
    if value is None:
        assert not any(counts)
    else:
        assert 1 <= value <= len(counts)


@given(requests, st.integers(2, 1000))
def test_it_is_a_matter_of_shares_not_of_counts(counts: list[int], times: int) -> None:
    several = imbalance(backends(*(count * times for count in counts)))
    assert several == pytest.approx(imbalance(backends(*counts)))


def test_connections_do_not_count() -> None:
    assert imbalance({"a": Served(4, 1), "b": Served(4, 1000)}) == 1.0
