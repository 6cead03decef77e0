from __future__ import annotations

from collections import Counter
from math import exp, inf, isfinite, nan
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.peak_ewma import PeakEwma
from tests.policy.backends import backend, backend_lists, named, names, weighted

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


class Table:
    """A strategy, what it looks at, and a clock."""

    def __init__(self, backends: list[Backend], decay: float = 10.0) -> None:
        self.occupancy = LocalOccupancy(len(backends))
        self.load = Load(backends, self.occupancy, range(len(backends)))
        self.strategy = PeakEwma(backends, self.load, Random(1), decay)
        self.backends = {backend.name: backend for backend in backends}
        self.positions = {backend.name: index for index, backend in enumerate(backends)}
        self.now = 1000.0

    def enter(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.occupancy.try_enter(self.positions[name], 0)

    def observe(self, **seconds: float) -> None:
        for name, latency in seconds.items():
            self.strategy.observe(self.backends[name], latency, self.now)

    def latency(self, name: str) -> float | None:
        return self.strategy.latency(self.backends[name], self.now)

    def pick(self, rejected: str = "") -> str:
        return next(one.name for one in self.strategy.order(b"", self.now) if one.name != rejected)

    def serve(self, seconds: dict[str, float], count: int, every: float = 0.01) -> Counter[str]:
        """Serve so many connections one after the other, each of the latency given."""
        counted: Counter[str] = Counter()
        for _ in range(count):
            name = self.pick()
            counted[name] += 1
            self.now += every
            self.observe(**{name: seconds[name]})
        return counted


@given(
    backend_lists(),
    st.lists(st.tuples(st.integers(0, 5), ANY_FLOAT, st.floats(-1e9, 1e9)), max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_order_yields_each_backend_once_and_ends_whatever_was_observed(
    backends: list[Backend], observed: list[tuple[int, float, float]]
) -> None:
    table = Table(backends)
    expected = sorted(one.name for one in backends if one.weight > 0)
    for index, seconds, table.now in observed:  # the clock goes back too
        if index < len(backends):
            table.strategy.observe(backends[index], seconds, table.now)
            latency = table.latency(backends[index].name)
            assert latency is not None
            assert isfinite(latency)
            assert latency >= 0
        assert sorted(names(table.strategy.order(b"", table.now))) == expected
    assert set(table.strategy.shares()) == set(expected)
    assert sum(table.strategy.shares().values()) == pytest.approx(int(bool(expected)))


# -- latency ----------------------------------------------------------------------------------


def test_a_higher_latency_holds_at_once_and_a_lower_one_by_the_time_since_the_last() -> None:
    table = Table(named("a"))
    assert table.latency("a") is None
    table.observe(a=0.1)
    assert table.latency("a") == 0.1
    table.observe(a=0.5)
    assert table.latency("a") == 0.5
    table.now += 10
    table.observe(a=0.1)
    left = exp(-1)
    assert table.latency("a") == pytest.approx(0.5 * left + 0.1 * (1 - left))


def test_a_latency_fades_to_37_percent_in_the_time_given() -> None:
    table = Table(named("a"), decay=4.0)
    table.observe(a=1.0)
    table.now += 4
    assert table.latency("a") == pytest.approx(exp(-1))


def test_a_clock_that_goes_back_has_not_moved() -> None:
    table = Table(named("a"))
    table.observe(a=1.0)
    table.now -= 500
    assert table.latency("a") == 1.0
    table.observe(a=0.5)
    assert table.latency("a") == 1.0
    table.now += 510
    assert table.latency("a") == pytest.approx(exp(-1))


@pytest.mark.parametrize(("seconds", "taken_for"), [(nan, 0), (-1.0, 0), (inf, 3600), (0.0, 0)])
def test_what_cannot_be_a_latency_is_taken_for_the_nearest_that_can(
    seconds: float, taken_for: float
) -> None:
    table = Table(named("a"))
    table.observe(a=seconds)
    assert table.latency("a") == taken_for


def test_a_backend_that_is_gone_is_not_missed() -> None:
    table = Table(named("a"))
    table.strategy.observe(backend("gone"), 1.0, table.now)
    assert table.pick() == "a"


@pytest.mark.parametrize("decay", [0.0, -1.0, nan])
def test_a_latency_has_to_fade(decay: float) -> None:
    with pytest.raises(ValueError, match="more than 0 s"):
        Table(named("a"), decay)


# -- choice -----------------------------------------------------------------------------------


def test_the_faster_one_is_preferred() -> None:
    table = Table(named("slow", "fast"))
    counted = table.serve({"slow": 0.1, "fast": 0.01}, 2000)
    assert counted["fast"] > 0.95 * 2000


@pytest.mark.parametrize("size", [2, 5, 20])
def test_one_of_many_that_is_slow_gets_little(size: int) -> None:
    table = Table(named(*(f"b{number}" for number in range(size))))
    latencies = dict.fromkeys(table.backends, 0.01) | {"b0": 0.2}
    counted = table.serve(latencies, 2000)
    assert 1 <= counted["b0"] <= 0.02 * 2000


def test_after_a_spike_a_backend_without_traffic_is_tried_again_by_one_connection() -> None:
    table = Table(named("a", "b"))
    table.observe(a=0.01, b=1.0)
    assert table.pick() == "a"
    table.now += 60  # b's spike has faded to 0.0025
    table.observe(a=0.01)
    assert table.pick() == "b"
    assert [table.pick() for _ in range(5)] == ["a"] * 5  # until b has been measured
    table.observe(b=0.01)
    assert table.latency("b") == pytest.approx(0.01, rel=0.3)
    table.enter("a")
    assert table.pick() == "b"


def test_a_backend_that_never_answers_gets_little_and_ever_less() -> None:
    table = Table(named("a", "stuck"))
    table.observe(a=0.01, stuck=0.01)
    stuck_at = []
    for _ in range(30_000):  # for 300 s
        table.now += 0.01
        name = table.pick()
        if name == "a":
            table.observe(a=0.01)
        else:
            table.enter("stuck")
            stuck_at.append(table.now - 1000)
    assert len(stuck_at) < 30
    assert sum(moment > 150 for moment in stuck_at) < 10


def test_open_connections_make_a_backend_dearer() -> None:
    table = Table(named("a", "b"))
    table.observe(a=0.01, b=0.025)
    table.enter("a", 1)
    assert table.pick() == "a"  # 0.01 × 2 < 0.025 × 1
    table.enter("a", 1)
    assert table.pick() == "b"


def test_weight_makes_a_backend_cheaper_and_the_effective_one_counts() -> None:
    table = Table(weighted(a=4, b=1))
    table.observe(a=0.03, b=0.01)
    assert {table.pick() for _ in range(20)} == {"a"}
    table.load.weights[0] = 2.0
    assert {table.pick() for _ in range(20)} == {"b"}


def test_one_that_was_never_measured_is_tried_first_but_not_by_all_at_once() -> None:
    table = Table(weighted(new=1, old=9))
    table.observe(old=0.0001)
    assert table.pick() == "new"
    table.enter("new")
    assert {table.pick() for _ in range(20)} == {"old"}
    table.enter("old", 20)  # 21 / 9 is more than 2 / 1
    assert table.pick() == "new"


def test_when_nobody_was_measured_the_connections_decide() -> None:
    table = Table(named("a", "b", "c"))
    for _ in range(300):
        table.enter(table.pick())
    assert all(80 <= count() <= 120 for count in table.load.counts)


def test_backends_of_latency_0_share_by_connections() -> None:
    table = Table(named("a", "b"))
    table.observe(a=0.0, b=0.0)
    table.enter("a")
    assert {table.pick() for _ in range(20)} == {"b"}


def test_one_that_is_passed_by_goes_on_fading() -> None:
    table = Table(named("ejected", "b"))
    table.observe(ejected=0.01, b=1.0)
    table.now += 10
    assert table.pick(rejected="ejected") == "b"
    assert table.latency("ejected") == pytest.approx(0.01 * exp(-1))
    assert table.latency("b") == 1.0  # which is tried now
