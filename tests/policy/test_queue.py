from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.queue import QueuePolicy, WaitingLine


def line_of(size: int, *waiting: str) -> WaitingLine[str]:
    line: WaitingLine[str] = WaitingLine(size)
    assert all(line.join(one) for one in waiting)
    return line


def test_an_empty_line_has_no_first_one() -> None:
    line = line_of(3)
    assert line.first() is None
    assert len(line) == 0
    assert not line


def test_first_come_first_served() -> None:
    line = line_of(9, "b", "a", "c")
    served = []
    while (one := line.first()) is not None:
        line.leave(one)
        served.append(one)
    assert served == ["b", "a", "c"]


def test_to_look_at_the_first_one_moves_nobody() -> None:
    line = line_of(9, "b", "a")
    assert line.first() == line.first() == "b"
    assert list(line) == ["b", "a"]


def test_a_full_line_takes_nobody_until_somebody_leaves() -> None:
    line = line_of(2, "a", "b")
    assert not line.join("c")
    assert list(line) == ["a", "b"]
    line.leave("a")
    assert line.join("c")
    assert list(line) == ["b", "c"]


def test_in_a_line_of_size_0_nobody_waits() -> None:
    line = line_of(0)
    assert not line.join("a")
    assert len(line) == 0


def test_one_in_the_middle_may_leave_and_comes_back_at_the_end() -> None:
    line = line_of(3, "a", "b", "c")
    line.leave("b")
    assert list(line) == ["a", "c"]
    assert line.join("b")
    assert list(line) == ["a", "c", "b"]


def test_one_that_is_not_there_may_leave() -> None:
    line = line_of(3, "a")
    line.leave("b")
    assert list(line) == ["a"]


def test_by_default_1000_wait_for_5_seconds_and_one_that_ended_has_left() -> None:
    assert QueuePolicy() == QueuePolicy(size=1000, timeout=5.0, abort_on_close=True)


def test_to_leave_a_long_line_takes_no_longer_than_a_short_one() -> None:
    """With a list it would take minutes: each of those in the middle would have to be found."""
    numbers: WaitingLine[int] = WaitingLine(200_000)
    for number in range(200_000):
        numbers.join(number)
    for number in range(50_000, 150_000):
        numbers.leave(number)
    while (first := numbers.first()) is not None:
        numbers.leave(first)
    assert len(numbers) == 0


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from(["join", "leave", "serve"]), st.integers(0, 6))),
)
def test_it_is_a_list_that_is_bounded(size: int, moves: list[tuple[str, int]]) -> None:
    line: WaitingLine[int] = WaitingLine(size)
    naive: list[int] = []
    for move, one in moves:
        if move == "join" and one not in naive:  # nobody waits twice
            assert line.join(one) == (len(naive) < size)
            naive = [*naive, one][:size]
        elif move == "leave":
            line.leave(one)
            naive = [other for other in naive if other != one]
        elif move == "serve" and naive:
            assert line.first() == naive[0]
            line.leave(naive.pop(0))
        assert (list(line), len(line)) == (naive, len(naive))
        assert line.first() == (naive[0] if naive else None)
