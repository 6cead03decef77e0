from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.cli.ctl.top_frame import Frame, Sort, ordered, to_frame
from tcplb.cli.ctl.top_text import lines, rate
from tcplb.control.admin.models import BackendStats, Stats
from tests.control.admin.fake import FakeControl

CONTROL = FakeControl()
STATUS = CONTROL.status()
VIEWS = {(each.pool, each.name): each for pool in CONTROL.pools() for each in pool.backends}
COUNTERS = ("connections", "connect_failures", "bytes_up", "bytes_down")


def backend(name: str = "b1", **values: Any) -> BackendStats:
    zeros: dict[str, Any] = dict.fromkeys(("active", "connect_seconds", *COUNTERS), 0)
    return BackendStats(pool="web", name=name, **zeros | values)


def stats(at: float, *backends: BackendStats, **values: Any) -> Stats:
    zeros: dict[str, Any] = dict.fromkeys(
        ("active", "accepted", "turned_away", "waiting", "retries"), 0
    )
    return Stats(at=at, backends=list(backends), **zeros | values)


def frame(before: Stats | None, now: Stats) -> Frame:
    return to_frame(before, now, STATUS, VIEWS)


def test_rates_are_growth_over_time() -> None:
    before = stats(100, backend(connections=10, bytes_up=5), accepted=7, retries=1)
    now = stats(
        104,
        backend(
            active=3,
            connections=30,
            connect_failures=2,
            bytes_up=5,
            bytes_down=400,
            connect_seconds=0.1,
        ),
        accepted=27,
        turned_away=8,
        retries=1,
        active=3,
        waiting=9,
    )
    found = frame(before, now)
    (row,) = found.rows
    assert (found.accepted, found.turned_away, found.retries) == (5.0, 2.0, 0.0)
    assert (found.active, found.waiting) == (3, 9)
    assert (row.connections, row.errors, row.bytes_up, row.bytes_down) == (5.0, 0.5, 0.0, 100.0)
    assert row.connect_ms == pytest.approx(5.0)
    assert (row.pool, row.name, row.state, row.active) == ("web", "b1", "up", 3)


def test_the_first_reading_has_no_rates() -> None:
    found = frame(None, stats(100, backend(active=3, connections=5), accepted=5))
    assert found.accepted is None
    assert (found.rows[0].connections, found.rows[0].connect_ms) == (None, None)
    assert found.rows[0].active == 3


def test_a_new_backend_has_no_rates_and_no_state() -> None:
    found = frame(stats(1, backend()), stats(2, backend(), backend("new", connections=5)))
    assert (found.rows[1].connections, found.rows[1].state) == (None, "?")


@given(
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.lists(st.integers(0, 1000), min_size=8, max_size=8),
)
def test_no_rate_is_ever_negative_or_without_an_end(
    first: float, second: float, counts: list[int]
) -> None:
    old: dict[str, Any] = dict(zip(COUNTERS, counts[:4], strict=True))
    new: dict[str, Any] = dict(zip(COUNTERS, counts[4:], strict=True))
    found = frame(
        stats(first, backend(**old, connect_seconds=counts[0]), accepted=counts[1]),
        stats(second, backend(**new, connect_seconds=counts[2]), accepted=counts[3]),
    )
    row = found.rows[0]
    values = (found.accepted, row.connections, row.errors, row.bytes_up, row.connect_ms)
    assert all(value is None or value >= 0 for value in values)
    if second <= first:
        assert found.accepted is None
    assert list(lines(found, Sort.BYTES))


def test_without_new_connections_there_is_no_time_of_a_connect() -> None:
    found = frame(stats(1, backend(connections=5)), stats(2, backend(connections=5)))
    assert found.rows[0].connect_ms is None


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        (Sort.CONNECTIONS, "b1"),
        (Sort.RATE, "b2"),
        (Sort.ERRORS, "b3"),
        (Sort.BYTES, "b4"),
    ],
)
def test_the_most_comes_first(sort: Sort, first: str) -> None:
    names = ("b4", "b3", "b2", "b1")
    now = stats(
        2,
        backend("b4", bytes_down=5, bytes_up=5),
        backend("b3", connect_failures=9, bytes_up=9),
        backend("b2", connections=9),
        backend("b1", active=9),
    )
    rows = ordered(frame(stats(1, *map(backend, names)), now).rows, sort)
    assert rows[0].name == first


def test_what_is_equal_is_in_the_order_of_names() -> None:
    rows = ordered(frame(None, stats(1, *map(backend, ("b3", "b1", "b2")))).rows, Sort.RATE)
    assert [row.name for row in rows] == ["b1", "b2", "b3"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0"), (0.5, "0.5"), (99.94, "99.9"), (100.0, "100"), (12345.6, "12,346")],
)
def test_rates_in_words(value: float | None, shown: str) -> None:
    assert rate(value) == shown
