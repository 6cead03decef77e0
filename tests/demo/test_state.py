from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.demo.state import LOG_DELAY, Health, Row, State, Window
from tcplb.loadgen.tally import Tally
from tcplb.testbed.balancer import Event, SessionLine

A, B = "127.0.0.1:8081", "127.0.0.1:8082"
EJECTED = f"pool default: backend {A} ejected for 5.0 s: 3 connects in a row failed"


def state(now: float = 100.0) -> State:
    begun = State("hash", now=now, epoch=1000.0)
    begun.begin([A, B])
    for pid, name in enumerate([A, B], 1):
        begun.process(name, pid, now)
    return begun


def session(
    at: float,
    backend: str | None = A,
    *,
    attempts: int = 1,
    connect_ms: int = 1,
    total_ms: int = 10,
    active: int = 1,
) -> SessionLine:
    return SessionLine(
        at=at,
        backend=backend,
        attempts=attempts,
        bytes_up=1,
        bytes_down=1,
        active_on_backend=active,
        connect_ms=connect_ms,
        total_ms=total_ms,
        termination="--",
        client="127.0.0.1:50000",
        key="/hello",
    )


def ejected(at: float) -> Event:
    return Event(at, "ejected", A, "warning", EJECTED)


def returned(at: float) -> Event:
    return Event(at, "returned", A, "info", f"pool default: backend {A} is back")


def first(shown: State, now: float) -> Row:
    return shown.picture(now).rows[0]


def test_rows_have_the_backends_in_their_order_with_the_numbers_of_their_keys() -> None:
    rows = state().picture(100.0).rows
    assert [(row.number, row.name, row.health, row.why) for row in rows] == [
        (1, A, Health.UP, "pid 1"),
        (2, B, Health.UP, "pid 2"),
    ]


def test_a_backend_is_down_without_its_process_then_ejected_then_up_again() -> None:
    shown = state()
    shown.process(A, None, 101.0)
    assert (first(shown, 101.0).health, first(shown, 101.0).why) == (Health.DOWN, "gone")
    shown.event(ejected(102.0))
    assert first(shown, 102.0).health is Health.EJECTED
    shown.process(A, 7, 103.0)
    assert first(shown, 103.0).health is Health.EJECTED
    shown.event(returned(107.0))
    assert (first(shown, 107.0).health, first(shown, 107.0).why) == (Health.UP, "pid 7")


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (102.0, "pid 1, trial in 5 s"),
        (104.6, "pid 1, trial in 2 s"),
        (106.4, "pid 1, trial in 1 s"),
        (106.6, "pid 1, trial due"),
        (110.0, "pid 1, trial due"),
    ],
)
def test_an_ejected_backend_says_when_its_trial_is(now: float, why: str) -> None:
    shown = state()
    shown.event(ejected(102.0))
    assert first(shown, now).why == why


def test_an_ejected_backend_without_a_process_says_so() -> None:
    shown = state()
    shown.event(ejected(102.0))
    shown.process(A, None, 102.0)
    assert first(shown, 102.0).why == "gone, trial in 5 s"


@pytest.mark.parametrize(
    ("began", "health"),
    [
        (-5.0, Health.DOWN),  # an old connection that only ends now
        (LOG_DELAY, Health.DOWN),
        (LOG_DELAY + 0.1, Health.UP),
    ],
)
def test_a_backend_is_up_when_somebody_elses_process_takes_connections(
    began: float, health: Health
) -> None:
    shown = state()
    shown.process(A, None, 110.0)
    shown.session(session(130.0, total_ms=round((130 - 110 - began) * 1000)))
    assert first(shown, 130.0).health is health
    assert first(shown, 130.0).why == ("not our process" if health is Health.UP else "gone")


def test_a_return_without_a_process_of_ours_is_somebody_elses() -> None:
    shown = state()
    shown.process(A, None, 110.0)
    shown.event(ejected(110.1))
    shown.event(returned(116.0))
    assert (first(shown, 116.0).health, first(shown, 116.0).why) == (Health.UP, "not our process")
    shown.event(ejected(120.0))  # that one is gone, too
    shown.event(returned(110.1))  # what was said before our process ended says nothing
    assert first(shown, 126.0).health is Health.DOWN


def test_our_own_process_takes_over_from_somebody_elses() -> None:
    shown = state()
    shown.process(A, None, 110.0)
    shown.session(session(120.0))
    shown.process(A, 9, 121.0)
    assert first(shown, 121.0).why == "pid 9"
    shown.process(A, None, 122.0)
    assert first(shown, 122.0).health is Health.DOWN


def test_a_connection_counts_for_the_backend_that_got_it() -> None:
    shown = state()
    shown.session(session(101.0, A, attempts=1))
    shown.session(session(101.0, B, attempts=2))
    shown.session(session(101.0, B))
    picture = shown.picture(102.0)
    assert (picture.connections, picture.retried, picture.failed) == (3, 1, 0)
    assert [row.total for row in picture.rows] == [1, 2]
    assert [row.share for row in picture.rows] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert [row.rate for row in picture.rows] == [0.5, 1.0]


@pytest.mark.parametrize("line", [session(101.0, None), session(101.0, A, connect_ms=-1)])
def test_a_connection_that_no_backend_got_counts_as_turned_away(line: SessionLine) -> None:
    shown = state()
    shown.session(line)
    picture = shown.picture(102.0)
    assert (picture.connections, picture.failed) == (1, 1)
    assert [row.total for row in picture.rows] == [0, 0]


def test_open_connections_are_what_the_kernel_says_or_else_what_the_log_says() -> None:
    shown = state()
    shown.session(session(101.0, A, active=4))
    assert first(shown, 101.0).now == 3  # the one that ended is not open
    shown.established({A: 17})
    assert first(shown, 101.0).now == 17


def test_another_balancer_knows_of_no_ejections_and_begins_new_shares() -> None:
    shown = state()
    shown.session(session(101.0, A))
    shown.event(ejected(102.0))
    shown.restarted("round-robin", 103.0)
    picture = shown.picture(104.0)
    assert picture.strategy == "round-robin"
    assert (picture.rows[0].health, picture.rows[0].share) == (Health.UP, 0.0)
    assert picture.rows[0].total == 1


def test_events_are_told_once_and_the_last_ones_are_kept() -> None:
    shown = state()
    shown.event(Event(101.0, "log", "", "info", "listening\x1b[2J\non"))
    shown.note("a key", 102.0)
    assert [(noted.at, noted.text, noted.level) for noted in shown.news()] == [
        (1101.0, "listening?[2J?on", "info"),
        (1102.0, "a key", "info"),
    ]
    assert shown.news() == []
    for number in range(300):
        shown.note(str(number), 103.0)
    assert [noted.text for noted in shown.picture(103.0).events] == [
        str(n) for n in range(100, 300)
    ]


def test_an_event_about_a_backend_does_not_name_the_only_pool() -> None:
    shown = state()
    shown.event(ejected(102.0))
    assert shown.news()[0].text == EJECTED.removeprefix("pool default: ")


def test_an_event_about_an_unknown_backend_is_only_told() -> None:
    shown = state()
    shown.event(Event(101.0, "ejected", "10.0.0.1:1", "warning", "ejected for 5.0 s"))
    assert {row.health for row in shown.picture(101.0).rows} == {Health.UP}
    assert len(shown.news()) == 1


def test_the_load_is_added_up_and_its_failures_are_told_when_they_begin() -> None:
    shown = state()
    good, bad = Tally(requests=10), Tally(requests=5, failures=Counter({"refused": 3, "reset": 1}))
    for now, tally in enumerate([good, bad, bad, good, bad], 101):
        shown.load(tally, now)
    picture = shown.picture(106.0)
    assert (picture.load_answered, picture.load_errors) == (35, 12)
    told = "the light load's clients fail: refused (3), reset (1)"
    assert [noted.text for noted in shown.news()] == [told, told]


def test_the_window_forgets_what_is_older_than_it() -> None:
    window = Window(0.0)
    window.add(A, 50.0)
    window.add(B, 55.0)
    assert window.counts(55.0) == {A: 1, B: 1}
    assert window.counts(59.5) == {A: 1, B: 1}
    assert window.counts(60.3) == {B: 1}
    assert window.counts(99.0) == {}
    assert [window.seconds(now) for now in (0.1, 4.0, 40.0)] == [1.0, 4.0, 10.0]


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from([A, B])), max_size=60))
def test_shares_are_those_of_the_last_ten_seconds(ended: list[tuple[float, str]]) -> None:
    shown = state(0.0)
    for at, name in sorted(ended):
        shown.session(session(at, name))
    rows = shown.picture(30.0).rows
    # What is a quarter of a second around the edge may be in or out.
    for row in rows:
        surely = sum(name == row.name for at, name in ended if at > 20.25)
        perhaps = sum(name == row.name for at, name in ended if at > 19.75)
        assert surely <= round(row.rate * 10) <= perhaps
        assert row.total == sum(name == row.name for _, name in ended)
    total = sum(row.rate for row in rows)
    assert sum(row.share for row in rows) == pytest.approx(1.0 if total else 0.0)
