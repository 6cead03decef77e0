from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.checks import CheckTracker, Statuses, first_delay, next_delay
from tcplb.policy.transition import Checked, Transition


def see(tracker: CheckTracker, results: str) -> list[Transition | None]:
    """Let `tracker` see passes ("p") and failures ("f"), begun at 0, 1, 2 … and 0.25 s long."""
    return [
        tracker.observe(
            result == "p",
            "connected" if result == "p" else "refused",
            started_at=float(start),
            now=start + 0.25,
        )
        for start, result in enumerate(results)
    ]


def test_a_backend_is_up_until_checks_fail() -> None:
    tracker = CheckTracker("b1", fall=3, rise=2)
    assert tracker.state is Checked.UP
    assert not tracker.changing


def test_down_after_failures_in_a_row_with_the_evidence() -> None:
    tracker = CheckTracker("b1", fall=3, rise=2)
    *before, transition = see(tracker, "fff")
    assert before == [None, None]
    assert transition is not None
    assert transition.state is tracker.state is Checked.DOWN
    assert transition.at == 2.0
    assert str(transition) == (
        "backend b1 is down: 3 checks in a row failed in 2250 ms, the last one: refused"
    )


def test_up_after_passes_in_a_row() -> None:
    tracker = CheckTracker("b1", fall=3, rise=2)
    *before, transition = see(tracker, "fffpp")
    assert before[3] is None
    assert transition is not None
    assert transition.state is tracker.state is Checked.UP
    assert transition.at == 4.0
    assert str(transition) == "backend b1 is up: 2 checks in a row passed"


def test_one_check_is_enough_if_one_is_asked_for() -> None:
    tracker = CheckTracker("b1", fall=1, rise=1)
    down, up = see(tracker, "fp")
    assert str(down) == "backend b1 is down: 1 check failed in 250 ms: refused"
    assert str(up) == "backend b1 is up: 1 check passed"


@pytest.mark.parametrize(
    ("results", "state"),
    [("ffpffpff", Checked.UP), ("fffpfpfp", Checked.DOWN), ("ffffff", Checked.DOWN)],
)
def test_in_a_row_is_meant(results: str, state: Checked) -> None:
    tracker = CheckTracker("b1", fall=3, rise=2)
    see(tracker, results)
    assert tracker.state is state


def test_the_evidence_begins_with_the_first_failure_of_the_row() -> None:
    transition = see(CheckTracker("b1", fall=3, rise=2), "fppffpfff")[-1]
    assert "failed in 2250 ms" in str(transition)


@pytest.mark.parametrize(
    ("results", "changing"),
    [
        ("p", False),
        ("f", True),
        ("ff", True),
        ("ffp", False),
        ("fff", False),
        ("ffff", False),
        ("fffp", True),
        ("fffpf", False),
        ("fffpp", False),
    ],
)
def test_it_is_changing_while_the_last_results_speak_against_the_state(
    results: str, changing: bool
) -> None:
    tracker = CheckTracker("b1", fall=3, rise=2)
    see(tracker, results)
    assert tracker.changing is changing


@given(st.integers(1, 5), st.integers(1, 5), st.text("pf", max_size=40))
def test_it_flips_exactly_when_the_last_results_are_all_against_it(
    fall: int, rise: int, results: str
) -> None:
    tracker = CheckTracker("b1", fall, rise)
    state, since = Checked.UP, 0
    for end, transition in enumerate(see(tracker, results), 1):
        row = results[since:end]
        if state is Checked.UP and row.endswith("f" * fall):
            state, since = Checked.DOWN, end
            assert transition is not None
            assert transition.state is Checked.DOWN
        elif state is Checked.DOWN and row.endswith("p" * rise):
            state, since = Checked.UP, end
            assert transition is not None
            assert transition.state is Checked.UP
        else:
            assert transition is None
    assert tracker.state is state


# -- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fast", "changing", "middle"),
    [(0.5, False, 2.0), (0.5, True, 0.5), (9.0, True, 2.0), (9.0, False, 2.0)],
)
def test_the_next_check_comes_after_the_interval_give_or_take_a_tenth(
    fast: float, changing: bool, middle: float
) -> None:
    rng = Random(1)
    delays = [next_delay(2.0, fast, changing, rng) for _ in range(1000)]
    assert 0.9 * middle <= min(delays) < 0.91 * middle
    assert 1.09 * middle < max(delays) <= 1.1 * middle


def test_first_checks_are_spread_over_the_interval() -> None:
    rng = Random(1)
    tenths = [int(first_delay(2.0, rng) / 0.2) for _ in range(1000)]
    assert set(tenths) == set(range(10))
    assert all(70 <= tenths.count(tenth) <= 130 for tenth in range(10))


# -- statuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("200", [200], [199, 201, 0]),
        ("200-299,304", [200, 250, 299, 304], [199, 300, 303, 305]),
        ("200-399", [200, 399], [100, 199, 400, 503]),
    ],
)
def test_statuses(text: str, inside: list[int], outside: list[int]) -> None:
    statuses = Statuses.parse(text)
    assert all(status in statuses for status in inside)
    assert not any(status in statuses for status in outside)


@pytest.mark.parametrize("text", ["", "2xx", "200,", "200-"])
def test_what_is_not_a_set_of_statuses(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Statuses.parse(text)
