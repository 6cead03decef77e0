from __future__ import annotations

import json
from dataclasses import replace
from heapq import heapify, heapreplace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.models import BackendConfig, PoolConfig, QueueConfig
from tcplb.control.plan import PoolPlan, plan_pool
from tcplb.control.rehearsal import SupposedOccupancy, rehearsal_pool
from tcplb.control.replay.log import Arrival, Log, LogReader
from tcplb.control.replay.result import Moves, Result, Waits, imbalance, most_frequent, replay
from tcplb.control.replay.simulation import Simulation
from tcplb.dataplane.record import Record, to_json
from tcplb.dataplane.termination import Termination
from tcplb.policy.names import StrategyName, parse_key_rule
from tcplb.policy.placement import place
from tcplb.policy.transition import Mode

BEGAN = 1795356187.0
TICK = 0.125
"""Seconds that a float has without rounding, so that two ends may be in the same instant."""


def record(at: float = 0.0, lasts: float = 1.0, **changes: Any) -> Record:
    """A session accepted `at` seconds after the first one."""
    known: dict[str, Any] = {
        "accepted_at": BEGAN + at,
        "began": 100.0,
        "listener": "web",
        "pool": "web",
        "client_host": "203.0.113.5",
        "client_port": 51234,
        "key": b"/x",
        "classified": 100.0,
        "backend": "a",
        "connected": 100.0,
        "ended": 100.0 + lasts,
    }
    return Record(**known | changes)


GOOD = json.loads(to_json(record()))


def read(*lines: str, rule: str = "auto", pool: str | None = None, client: bool = False) -> Log:
    return LogReader(parse_key_rule(rule), pool=pool, key_from_client=client).read(lines)


def plan(
    strategy: str = "first", *, queue: dict[str, Any] | None = None, **limits: int
) -> PoolPlan:
    """A pool with a backend for each of `limits`, its `max_connections`."""
    return plan_pool(
        "web",
        PoolConfig(
            strategy=strategy,
            backends=tuple(
                BackendConfig(name=name, address="127.0.0.1:1", max_connections=limit)
                for name, limit in limits.items()
            ),
            queue=QueueConfig(**queue or {}),
        ),
    )


def arrivals(*times: tuple[float, float], key: bytes = b"/x", backend: str = "a") -> list[Arrival]:
    """Sessions by when they come and how long they last."""
    return [Arrival(BEGAN + at, lasts, key, backend) for at, lasts in times]


def simulate(pool: PoolPlan, sessions: list[Arrival]) -> Simulation:
    simulation = Simulation(rehearsal_pool(pool), BEGAN)
    simulation.run(sessions)
    return simulation


def counted(result: Result) -> dict[str, int]:
    return {load.name: load.connections for load in result.backends}


# -- reading a log ----------------------------------------------------------------------------


def test_a_session_is_read_as_it_was_recorded() -> None:
    log = read(to_json(record(0.25, 2.5)))
    (arrival,) = log.arrivals
    assert (arrival.at, arrival.lasts, arrival.key, arrival.backend) == (
        BEGAN + 0.25,
        2.5,
        b"/x",
        "a",
    )
    assert (log.bad_lines, log.unplaced, log.without_key, log.turned_away) == (0, 0, 0, 0)
    assert log.backends == ["a"]


def test_sessions_are_logged_at_their_end_and_replayed_by_their_beginning() -> None:
    log = read(*(to_json(record(at, key=b"%d" % at)) for at in (3, 1, 2)))
    assert [arrival.key for arrival in log.arrivals] == [b"1", b"2", b"3"]


def test_those_of_one_instant_stay_as_they_were_written() -> None:
    log = read(*(to_json(record(key=key)) for key in (b"c", b"a", b"b")))
    assert [arrival.key for arrival in log.arrivals] == [b"c", b"a", b"b"]


def test_time_in_the_queue_is_not_time_with_the_backend() -> None:
    (arrival,) = read(to_json(record(lasts=2.5, queued=0.5))).arrivals
    assert arrival.lasts == 2.0


@pytest.mark.parametrize(("queue_ms", "lasts"), [(-1, 1.0), (0, 1.0), (999, 0.001), (5000, 0.0)])
def test_no_time_in_the_queue_makes_a_session_longer_or_less_than_nothing(
    queue_ms: int, lasts: float
) -> None:
    (arrival,) = read(json.dumps({**GOOD, "queue_ms": queue_ms})).arrivals
    assert arrival.lasts == lasts


@pytest.mark.parametrize(
    ("host", "rule", "key"),
    [
        ("203.0.113.5", "auto", b"203.0.113.5"),
        ("203.0.113.5", "client/24", b"203.0.113.0/24"),
        ("2001:db8::1", "auto", b"2001:db8::1"),
        ("2001:db8::1", "client/64", b"2001:db8::/64"),
    ],
)
def test_without_a_key_the_client_stands_in(host: str, rule: str, key: bytes) -> None:
    log = read(to_json(record(client_host=host, key=b"")), rule=rule)
    assert [arrival.key for arrival in log.arrivals] == [key]
    assert log.without_key == 1


def test_the_client_may_be_the_key_in_any_case() -> None:
    log = read(to_json(record()), to_json(record(key=b"")), client=True)
    assert {arrival.key for arrival in log.arrivals} == {b"203.0.113.5"}
    assert log.without_key == 0


def test_only_the_sessions_of_one_pool_may_be_wanted() -> None:
    lines = [to_json(record(pool=pool, key=pool.encode())) for pool in ("web", "db", "web")]
    log = read(*lines, pool="web")
    assert [arrival.key for arrival in log.arrivals] == [b"web", b"web"]
    assert log.pools == {"web": 2, "db": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"classified": None, "termination": Termination.CLIENT_RESET_EARLY},
        {"termination": Termination.DENIED},
        {"termination": Termination.TOO_FAST},
    ],
    ids=str,
)
def test_who_never_got_to_the_pool_is_not_replayed(changes: dict[str, Any]) -> None:
    log = read(to_json(record(backend=None, **changes)))
    assert (log.arrivals, log.unplaced) == ([], 1)


def test_who_was_turned_away_is_replayed() -> None:
    ended = Termination.QUEUE_TIMED_OUT
    log = read(to_json(record(lasts=5.0, queued=5.0, backend=None, termination=ended)))
    assert [arrival.lasts for arrival in log.arrivals] == [0.0]
    assert (log.turned_away, log.unplaced, log.backends) == (1, 0, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "it is not JSON"),
        ("{", "it is not JSON"),
        ("7", "it is not a line of a JSON access log"),
        ("null", "it is not a line of a JSON access log"),
        ("[]", "it is not a line of a JSON access log"),
        ("[" * 100_000, "it is not JSON"),
        ('"\\ud800"', "it is not JSON"),
        ("{}", "it has no time"),
        (json.dumps({**GOOD, "time": "soon"}), "Invalid isoformat string: 'soon'"),
        (json.dumps({**GOOD, "time": "2026-11-22T14:03:07"}), "its time has no time zone"),
        (json.dumps({**GOOD, "time": 7}), "it is not a line of a JSON access log"),
        (json.dumps({**GOOD, "total_ms": -1}), "its total_ms is no length of a session"),
        (json.dumps({**GOOD, "total_ms": float("nan")}), "its total_ms is no length of a session"),
        (json.dumps({**GOOD, "total_ms": 10**400}), "its total_ms is no length of a session"),
        (json.dumps({**GOOD, "total_ms": "1"}), "it is not a line of a JSON access log"),
        (json.dumps({**GOOD, "client": None}), "it is not a line of a JSON access log"),
        (json.dumps({**GOOD, "backend": 7}), "it is not a line of a JSON access log"),
        (json.dumps({**GOOD, "key": 7}), "it is not a line of a JSON access log"),
    ],
)
def test_a_bad_line_is_counted_and_named(line: str, reason: str) -> None:
    log = read(to_json(record()), "", "  \n", line, to_json(record()), "also bad")
    assert (len(log.arrivals), log.bad_lines) == (2, 2)
    assert log.first_bad == f"line 4: {reason}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=4))
def test_whatever_a_line_has_the_log_can_be_replayed(changes: dict[str, Any]) -> None:
    log = read(json.dumps({**GOOD, **changes}), to_json(record()))
    assert len(log.arrivals) + log.bad_lines + log.unplaced == 2
    replay(plan("hash", a=1, b=1), log.arrivals)


# -- virtual time -----------------------------------------------------------------------------


def test_a_session_holds_its_place_for_as_long_as_it_did() -> None:
    simulation = simulate(plan(a=0), arrivals((0, 2), (1, 2), (3, 1), (10, 1)))
    assert simulation.connections == [4]
    assert simulation.peaks == [2]
    assert simulation.busy == [6]
    assert simulation.ended_at == 11


def test_who_comes_the_moment_another_ends_meets_a_free_place() -> None:
    simulation = simulate(plan(a=1), arrivals((0, 1), (1, 1)))
    assert (simulation.peaks, simulation.waits) == ([1], [])


def test_with_room_on_the_second_nobody_waits() -> None:
    simulation = simulate(plan(a=1, b=1), arrivals((0, 9), (1, 9), (9, 1)))
    assert (simulation.connections, simulation.waits) == ([2, 1], [])


def test_with_all_full_they_wait_first_come_first_served() -> None:
    simulation = simulate(plan(a=1), arrivals((0, 2), (0, 1), (1, 1)))
    assert simulation.waits == [2, 2]
    assert simulation.ended_at == 4


def test_who_comes_while_others_wait_stands_behind_them() -> None:
    sessions = arrivals((0, 2), (0, 2), (2, 2))
    assert simulate(plan(a=1), sessions).waits == [2, 2]


def test_who_waits_too_long_leaves_and_the_next_one_moves_up() -> None:
    queue = {"timeout": 1.5}
    simulation = simulate(plan(a=1, queue=queue), arrivals((0, 2), (0, 9), (1, 1)))
    assert simulation.waits == [1.5, 1]
    assert simulation.timed_out == 1
    assert simulation.connections == [2]


def test_who_has_left_the_line_takes_no_place_in_it() -> None:
    queue = {"timeout": 1, "size": 1}
    simulation = simulate(plan(a=1, queue=queue), arrivals((0, 3), (0, 9), (2.5, 9)))
    assert (simulation.timed_out, simulation.refused) == (1, 0)
    assert simulation.waits == [1, 0.5]


def test_room_in_the_very_last_moment_is_room() -> None:
    simulation = simulate(plan(a=1, queue={"timeout": 2}), arrivals((0, 2), (0, 1)))
    assert (simulation.waits, simulation.timed_out) == ([2], 0)


@pytest.mark.parametrize(("size", "refused"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_a_full_line_refuses(size: int, refused: int) -> None:
    sessions = arrivals((0, 1), (0, 1), (0, 1), (0, 1))
    simulation = simulate(plan(a=1, queue={"size": size}), sessions)
    assert simulation.refused == refused
    assert simulation.connections == [4 - refused]


def test_a_pool_that_takes_no_connections_turns_them_away() -> None:
    drained = replace(plan(a=1), modes=(Mode.DRAINING,))
    simulation = simulate(drained, arrivals((0, 1), (0, 1)))
    assert (simulation.without_backend, simulation.waits) == (2, [])


def as_a_queue_with_one_counter_each(
    times: list[tuple[float, float]], places: int, timeout: float
) -> list[float | None]:
    """How long each one waits, None for too long: another way to compute what a line does.

    With one line and equal patience, who leaves never had a place, so it changes nothing.
    """
    free_at = [0.0] * places
    heapify(free_at)
    waits: list[float | None] = []
    for at, lasts in times:
        begins = max(at, free_at[0])
        if begins - at > timeout:
            waits.append(None)
            continue
        heapreplace(free_at, begins + lasts)
        waits.append(begins - at)
    return waits


TICKS = st.integers(0, 12).map(lambda ticks: ticks * TICK)


@given(
    st.lists(st.tuples(TICKS, TICKS), max_size=30),
    st.lists(st.integers(1, 2), min_size=1, max_size=3),
    st.sampled_from(StrategyName),
    st.sampled_from([1, 4, 100]),
)
def test_waits_are_those_of_the_textbook_whatever_the_strategy(
    times: list[tuple[float, float]], limits: list[int], strategy: StrategyName, timeout: int
) -> None:
    times.sort(key=lambda session: session[0])
    backends = dict(zip("abc", limits, strict=False))
    pool = plan(strategy, queue={"timeout": timeout * TICK}, **backends)
    simulation = simulate(pool, arrivals(*times))
    expected = as_a_queue_with_one_counter_each(times, sum(limits), timeout * TICK)
    served = [wait for wait in expected if wait is not None]
    late = len(expected) - len(served)
    assert sorted(simulation.waits) == sorted(
        [wait for wait in served if wait] + [timeout * TICK] * late
    )
    assert simulation.timed_out == late
    assert sum(simulation.connections) == len(served)


@given(
    st.lists(st.tuples(TICKS, TICKS), max_size=30),
    st.lists(st.integers(0, 2), min_size=1, max_size=3),
    st.sampled_from(StrategyName),
    st.integers(0, 3),
)
def test_nobody_is_lost_and_no_limit_exceeded(
    times: list[tuple[float, float]], limits: list[int], strategy: StrategyName, size: int
) -> None:
    times.sort(key=lambda session: session[0])
    pool = plan(
        strategy, queue={"size": size, "timeout": 0.5}, **dict(zip("abc", limits, strict=False))
    )
    simulation = simulate(pool, arrivals(*times))
    ended = sum(simulation.connections) + simulation.timed_out + simulation.refused
    assert ended == len(times)
    assert simulation.pool.active_total == 0
    for peak, limit in zip(simulation.peaks, limits, strict=True):
        assert not limit or peak <= limit


# -- what came of it --------------------------------------------------------------------------


def test_a_small_replay_in_full() -> None:
    sessions = arrivals((0, 2), (0, 2), (1, 4), (2, 2))
    result = replay(plan("round-robin", a=1, b=1), sessions)
    assert (result.strategy, result.connections, result.seconds) == ("round-robin", 4, 6)
    assert [
        (load.name, load.connections, load.share, load.weight_share, load.peak, load.mean_active)
        for load in result.backends
    ] == [("a", 2, 0.5, 0.5, 1, 1.0), ("b", 2, 0.5, 0.5, 1, 4 / 6)]
    assert result.waits == Waits(1, 1.0, 1.0, 1.0, 0, 0)
    assert result.imbalance == 1.0
    assert result.active_imbalance == pytest.approx(6 / 5)
    assert result.moves is None


def test_the_p99_is_the_time_that_99_of_100_do_not_exceed() -> None:
    sessions = arrivals(*[(0, TICK)] * 201)
    waits = replay(plan(a=1, queue={"timeout": 1000}), sessions).waits
    assert (waits.waited, waits.p99, waits.longest) == (200, 198 * TICK, 200 * TICK)
    assert waits.mean == pytest.approx(100.5 * TICK)


@pytest.mark.parametrize("strategy", ["hash", "maglev", "rendezvous"])
def test_a_key_goes_where_the_pool_would_send_it(strategy: str) -> None:
    pool = plan(strategy, a=0, b=0, c=0)
    sessions = [Arrival(BEGAN + at, 1, b"/%d" % (at % 50), "a") for at in range(200)]
    rehearsed = rehearsal_pool(pool)
    owners = [place(rehearsed, session.key) for session in sessions]
    result = replay(pool, sessions)
    assert counted(result) == {name: owners.count(name) for name in "abc"}
    assert result.moves == Moves(50, sum(owner != "a" for owner in owners[:50]))


def test_keys_that_nobody_took_in_the_log_have_not_moved() -> None:
    sessions = [Arrival(BEGAN, 1, b"/x", None), Arrival(BEGAN, 1, b"/y", "a")]
    assert replay(plan("hash", a=0), sessions).moves == Moves(1, 0)


def test_a_key_is_with_the_backend_that_it_has_most_often() -> None:
    times = {(b"x", "b"): 2, (b"x", "a"): 1, (b"y", "b"): 1, (b"y", "a"): 1}
    assert most_frequent(times) == {b"x": "b", b"y": "a"}


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([(1, 0.5), (1, 0.5)], 1.0),
        ([(3, 0.5), (1, 0.5)], 1.5),
        ([(3, 0.75), (1, 0.25)], 1.0),
        ([(2, 0.75), (2, 0.25)], 2.0),
        ([(1, 1.0), (9, 0.0)], 1.0),
        ([(0, 0.5), (0, 0.5)], None),
        ([], None),
    ],
)
def test_imbalance_is_the_busiest_for_its_weight_over_the_mean(
    loads: list[tuple[float, float]], expected: float | None
) -> None:
    assert imbalance(loads) == expected


@pytest.mark.parametrize("strategy", ["random", "power-of-two", "peak-ewma"])
def test_chance_is_the_same_with_the_same_seed(strategy: str) -> None:
    pool, sessions = plan(strategy, a=0, b=0, c=0), arrivals(*[(0, 0)] * 500)
    assert replay(pool, sessions) == replay(pool, sessions, seed=0)
    if strategy == "random":
        assert counted(replay(pool, sessions)) != counted(replay(pool, sessions, seed=1))


def test_an_empty_replay_is_empty() -> None:
    result = replay(plan("hash", a=1), [])
    assert (result.connections, result.seconds, result.imbalance) == (0, 0, None)
    assert result.waits == Waits(0, 0.0, 0.0, 0.0, 0, 0)


def test_a_strategy_of_the_users_own_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "replayed_strategy.py").write_text("def pick(key, backends):\n    return 'z'\n")
    pool = plan("replayed_strategy:pick", a=0)
    pool = replace(pool, strategy=replace(pool.strategy, search_path=str(tmp_path)))
    result = replay(pool, arrivals((0, 1), (1, 1)))
    assert (counted(result), result.complaints) == ({"a": 2}, 2)
    assert result.complaint == "named 'z', which is no backend of this pool"


# -- the pool that is asked -------------------------------------------------------------------


def test_a_rehearsal_has_the_rules_of_the_plan() -> None:
    planned = plan("hash", a=1, b=2)
    assert rehearsal_pool(planned).rules is planned.rules


def test_supposed_counts_go_on_from_there() -> None:
    occupancy = SupposedOccupancy([2, 0])
    assert (occupancy.active(0), occupancy.total()) == (2, 2)
    assert not occupancy.try_enter(0, 2)
    occupancy.leave(0)
    assert occupancy.try_enter(0, 2)
