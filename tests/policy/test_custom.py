from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import FrozenInstanceError
from itertools import count, cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.custom import MAX_PICK, Candidate, Custom
from tcplb.policy.load import Load
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.round_robin import RoundRobin
from tests.policy.backends import backend_lists, named, names, weighted

Function = Callable[[bytes, Sequence[Candidate]], Any]


class Table:
    """A strategy of a given function, what it looks at, a clock, and what failed."""

    def __init__(self, backends: list[Backend], function: Function) -> None:
        self.now = 5.0
        self.failures: list[str] = []
        self.occupancy = LocalOccupancy(len(backends))
        self.load = Load(backends, self.occupancy, range(len(backends)))
        self.strategy = Custom(
            backends,
            self.load,
            function,
            fallback=RoundRobin(backends),
            clock=lambda: self.now,
            failed=self.failures.append,
        )

    def order(self, key: bytes = b"") -> list[str]:
        return names(self.strategy.order(key))


def always(answer: object) -> Function:
    return lambda _key, _backends: answer


# -- what a function may return ---------------------------------------------------------------


def test_a_name_comes_first_and_the_rest_follow_in_turns() -> None:
    table = Table(named("a", "b", "c"), always("b"))
    assert table.order() == ["b", "a", "c"]
    assert table.failures == []


def test_a_candidate_comes_first() -> None:
    table = Table(named("a", "b", "c"), lambda _, backends: backends[2])
    assert table.order() == ["c", "a", "b"]


def test_candidates_and_names_may_be_mixed_and_given_by_a_generator() -> None:
    def function(_key: bytes, backends: Sequence[Candidate]) -> Iterator[Candidate | str]:
        yield backends[2]
        yield "a"

    table = Table(named("a", "b", "c"), function)
    assert table.order() == ["c", "a", "b"]
    assert table.failures == []


def test_nothing_chosen_is_a_valid_answer() -> None:
    table = Table(named("a", "b"), always([]))
    assert [table.order()[0] for _ in range(4)] == ["a", "b", "a", "b"]
    assert table.failures == []


def test_repeated_entries_are_yielded_once() -> None:
    table = Table(named("a", "b", "c"), always(["b", "b", "a"]))
    assert table.order() == ["b", "a", "c"]


def test_of_an_endless_iterable_as_many_entries_count_as_there_are_backends() -> None:
    asked = count()

    def function(_key: bytes, _backends: Sequence[Candidate]) -> Iterator[str]:
        for name in cycle(["c", "a"]):
            next(asked)
            yield name

    table = Table(named("a", "b", "c"), function)
    assert table.order() == ["c", "a", "b"]
    assert next(asked) == 3
    assert table.failures == []


def test_a_backend_of_weight_0_is_not_offered_and_not_given() -> None:
    offered: list[str] = []

    def function(_key: bytes, backends: Sequence[Candidate]) -> list[str]:
        offered[:] = [one.name for one in backends]
        return ["drained", "b"]

    table = Table(weighted(a=1, drained=0, b=1), function)
    assert table.order() == ["b", "a"]
    assert offered == ["a", "b"]
    assert table.failures == []


def test_the_function_gets_the_key_and_always_the_same_candidates() -> None:
    seen: list[tuple[bytes, Sequence[Candidate]]] = []

    def function(key: bytes, backends: Sequence[Candidate]) -> str:
        seen.append((key, backends))
        return "a"

    table = Table(named("a", "b"), function)
    table.order(b"one")
    table.order(b"other")
    assert [key for key, _ in seen] == [b"one", b"other"]
    assert seen[0][1] is seen[1][1]


# -- candidates -------------------------------------------------------------------------------


def test_a_candidate_shows_what_is_configured_and_what_is_so_now() -> None:
    kept: list[Candidate] = []

    def function(_key: bytes, backends: Sequence[Candidate]) -> Sequence[Candidate]:
        kept.append(backends[1])
        return backends

    one = Backend("a", "10.0.0.1", 80, weight=3, max_connections=7)
    table = Table([*named("z"), one], function)
    table.order()
    (candidate,) = kept
    assert (candidate.name, candidate.host, candidate.port) == ("a", "10.0.0.1", 80)
    assert (candidate.weight, candidate.max_connections) == (3, 7)
    assert (candidate.active, candidate.effective_weight) == (0, 3.0)
    table.occupancy.try_enter(1, 0)
    table.load.weights[1] = 0.5
    assert (candidate.active, candidate.effective_weight) == (1, 0.5)
    with pytest.raises(FrozenInstanceError):
        candidate.weight = 4  # type: ignore[misc]


def test_a_function_can_go_by_the_connections_open() -> None:
    table = Table(
        named("a", "b", "c"), lambda _, backends: sorted(backends, key=lambda one: one.active)
    )
    table.occupancy.try_enter(0, 0)
    assert table.order() == ["b", "c", "a"]


# -- failures ---------------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Function:
    def function(_key: bytes, _backends: Sequence[Candidate]) -> str:
        raise error

    return function


def failing_late(_key: bytes, _backends: Sequence[Candidate]) -> Iterator[str]:
    yield "b"
    raise KeyError("late")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raising(ValueError("no luck")), "raised ValueError: no luck"),
        (raising(StopIteration()), "raised StopIteration"),
        (raising(UnprintableError()), "UnprintableError"),
        (failing_late, "raised KeyError: 'late'"),
        (always(None), "returned NoneType, not backends or their names"),
        (always(1), "returned int, not backends or their names"),
        (always("nobody"), "named 'nobody', which is no backend of this pool"),
        (always(["b", "nobody"]), "named 'nobody', which is no backend of this pool"),
        (always(b"b"), "gave int, not a backend or its name"),
        (always(["b", None]), "gave NoneType, not a backend or its name"),
    ],
)
def test_when_the_function_fails_round_robin_orders_and_the_reason_is_told(
    function: Function, reason: str
) -> None:
    table = Table(named("a", "b", "c"), function)
    assert [next(table.strategy.order()).name for _ in range(4)] == ["a", "b", "c", "a"]
    assert len(table.failures) == 4
    assert reason in table.failures[0]
    assert sorted(table.order()) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_of_the_function_is_not_held_back(error: type[BaseException]) -> None:
    table = Table(named("a"), raising(error()))
    with pytest.raises(error):
        table.order()
    assert table.failures == []


def test_an_answer_that_takes_too_long_is_not_used() -> None:
    def function(_key: bytes, _backends: Sequence[Candidate]) -> str:
        table.now += MAX_PICK * 1.5
        return "b"

    table = Table(named("a", "b"), function)
    assert table.order() == ["a", "b"]
    assert table.failures == ["took 1.5 ms, more than 1 ms"]


def test_an_answer_in_time_is_used() -> None:
    def function(_key: bytes, _backends: Sequence[Candidate]) -> str:
        table.now += MAX_PICK * 0.9
        return "b"

    table = Table(named("a", "b"), function)
    assert table.order() == ["b", "a"]
    assert table.failures == []


def test_an_iterable_that_takes_too_long_is_given_up_at_the_limit() -> None:
    asked = count()

    def function(_key: bytes, backends: Sequence[Candidate]) -> Iterator[Candidate]:
        for one in reversed(backends):
            next(asked)
            table.now += MAX_PICK * 0.4
            yield one

    table = Table(named(*"abcdefgh"), function)
    assert table.order() == list("abcdefgh")
    assert len(table.failures) == 1
    assert next(asked) == 3


def test_an_empty_iterable_that_takes_too_long_is_a_failure_too() -> None:
    def function(_key: bytes, _backends: Sequence[Candidate]) -> list[str]:
        table.now += MAX_PICK * 2
        return []

    table = Table(named("a"), function)
    table.order()
    assert table.failures == ["took 2 ms, more than 1 ms"]


# -- the rest ---------------------------------------------------------------------------------


@given(
    backend_lists(max_size=4),
    st.lists(st.one_of(st.integers(0, 3), st.just("nobody"), st.none()), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_order_yields_each_backend_of_positive_weight_once_and_ends_whatever_is_returned(
    backends: list[Backend], answer: list[int | str | None]
) -> None:
    entries = [
        backends[entry % len(backends)].name if isinstance(entry, int) and backends else entry
        for entry in answer
    ]
    table = Table(backends, always(entries))
    expected = sorted(one.name for one in backends if one.weight > 0)
    for _ in range(2):
        assert sorted(table.order()) == expected
    assert table.strategy.shares() == {}


def test_a_function_is_not_asked_when_there_is_nobody() -> None:
    table = Table(weighted(a=0), raising(ValueError()))
    assert table.order() == []
    assert table.failures == []


def test_a_function_may_say_that_it_needs_no_key() -> None:
    def keyless(_key: bytes, backends: Sequence[Candidate]) -> Candidate:
        return backends[0]

    assert Table(named("a"), keyless).strategy.keyed is True
    keyless.keyed = False  # type: ignore[attr-defined]
    assert Table(named("a"), keyless).strategy.keyed is False


def test_a_function_may_say_that_it_goes_by_the_effective_weights() -> None:
    def careful(_key: bytes, backends: Sequence[Candidate]) -> Candidate:
        return max(backends, key=lambda backend: backend.effective_weight)

    assert Table(named("a"), careful).strategy.by_load is False  # so the pool sees to it
    careful.by_load = True  # type: ignore[attr-defined]
    assert Table(named("a"), careful).strategy.by_load is True
