from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.tally import Served, Tally

counts = st.integers(0, 1 << 40)
names = st.sampled_from(("127.0.0.1:8081", "127.0.0.1:8082", "näme"))
quick = settings(max_examples=50, deadline=None)


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    histogram = Histogram()
    for value in draw(st.lists(st.integers(0, 1 << 44), max_size=5)):
        histogram.record(value)
    return histogram


tallies = st.builds(
    Tally,
    requests=counts,
    connections=counts,
    open=counts,
    bytes_sent=counts,
    bytes_received=counts,
    latency=histograms(),
    connect=histograms(),
    first_byte=histograms(),
    failures=st.builds(Counter, st.dictionaries(st.text(max_size=5), st.integers(1, 99))),
    statuses=st.builds(Counter, st.dictionaries(st.integers(100, 599), st.integers(1, 99))),
    backends=st.dictionaries(names, st.builds(Served, st.integers(1, 99), counts)),
    keys=counts,
    keys_moved=counts,
    moves=counts,
)


def merged(*parts: Tally) -> Tally:
    whole = Tally()
    for part in parts:
        whole.merge(part)
    return whole


def copied(tally: Tally) -> Tally:
    """Travel, as from a process to another."""
    return Tally.from_json(json.loads(json.dumps(tally.to_json())))


@given(tallies)
@quick
def test_what_was_written_as_json_is_read_again(tally: Tally) -> None:
    assert copied(tally) == tally


@given(tallies)
@quick
def test_an_empty_tally_adds_nothing(tally: Tally) -> None:
    before = copied(tally)
    tally.merge(Tally())
    assert tally == before == merged(before)


@given(tallies, tallies)
@quick
def test_the_order_of_merging_does_not_matter(one: Tally, other: Tally) -> None:
    assert merged(one, other) == merged(other, one)


@given(tallies, tallies, tallies)
@quick
def test_nor_does_what_is_merged_first(one: Tally, other: Tally, third: Tally) -> None:
    assert merged(merged(one, other), third) == merged(one, merged(other, third))


@given(tallies, tallies)
@quick
def test_what_is_merged_stays_as_it_is_and_lives_on_its_own(one: Tally, other: Tally) -> None:
    before = copied(other)
    one.merge(other)
    one.merge(other)
    one.failures["again"] += 1
    one.statuses[200] += 1
    for served in one.backends.values():
        served.requests += 1
    one.latency.record(1)
    assert other == before


def test_every_field_is_added_up() -> None:
    tally = Tally(
        requests=1,
        connections=2,
        open=3,
        bytes_sent=4,
        bytes_received=5,
        failures=Counter({"connection reset": 6}),
        statuses=Counter({200: 7}),
        backends={"a": Served(8, 9)},
        keys=10,
        keys_moved=11,
        moves=12,
    )
    for histogram in (tally.latency, tally.connect, tally.first_byte):
        histogram.record(13)
    twice = merged(tally, tally)
    assert (twice.requests, twice.connections, twice.open) == (2, 4, 6)
    assert (twice.bytes_sent, twice.bytes_received) == (8, 10)
    assert (twice.keys, twice.keys_moved, twice.moves) == (20, 22, 24)
    assert twice.errors == twice.failures["connection reset"] == 12
    assert twice.statuses[200] == 14
    assert twice.backends == {"a": Served(16, 18)}
    assert twice.latency.count == twice.connect.count == twice.first_byte.count == 2


def test_errors_are_failures_of_all_causes() -> None:
    assert Tally().errors == 0
    assert Tally(failures=Counter({"timed out": 2, "connection refused": 3})).errors == 5


def test_a_backend_begins_at_0_and_is_counted_where_it_is() -> None:
    tally = Tally()
    tally.served("a").requests += 1
    tally.served("a").connections += 2
    assert tally.backends == {"a": Served(1, 2)}


@given(tallies)
@quick
def test_what_was_cleared_begins_anew_but_what_is_open_stays_open(tally: Tally) -> None:
    served = tally.served("a")
    level = tally.open
    tally.clear()
    # A backend with nothing to its name does not travel.
    assert copied(tally) == Tally(open=level)
    served.requests += 1
    assert copied(tally) == Tally(open=level, backends={"a": Served(1, 0)})
