from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.client import Client
from tcplb.loadgen.clients import life_of
from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.keys import MAX_SOURCES, Keys
from tcplb.loadgen.loop import Loop
from tcplb.loadgen.tally import Tally

TARGET = Target("http://localhost:9090/", "127.0.0.1", 9090, "/", "localhost:9090")

quick = settings(max_examples=100, deadline=None)


def job(**changes: Any) -> Job:
    return Job(TARGET, Mode.REQUEST, **changes)


def a_client() -> Client:
    loop = Loop(job(), lambda at, tally: None)
    loop.epoll.close()
    return Client(loop, life_of(loop))


def taken(keys: Keys, connections: int) -> list[tuple[int | None, str | None]]:
    """The key and the source of so many connections, one after the other."""
    client, seen = a_client(), []
    for _ in range(connections):
        keys.take(client)
        seen.append((client.key, client.source))
    return seen


# -- what a connection gets -------------------------------------------------------------------


def test_without_paths_or_sources_no_keys_are_told_apart() -> None:
    assert set(taken(Keys(job(), Tally()), 5)) == {(None, None)}


@given(st.integers(2, 20), st.integers(0, 50))
@quick
def test_each_connection_gets_the_next_path(paths: int, connections: int) -> None:
    expected = [(number % paths, None) for number in range(connections)]
    assert taken(Keys(job(paths=paths), Tally()), connections) == expected


@given(st.integers(2, 20), st.integers(0, 50))
@quick
def test_each_connection_gets_the_next_source_which_is_its_key(
    sources: int, connections: int
) -> None:
    keys = [number % sources for number in range(connections)]
    expected = [(key, f"127.0.0.{2 + key}") for key in keys]
    assert taken(Keys(job(sources=sources), Tally()), connections) == expected


def test_with_both_the_path_is_the_key_and_the_source_rotates_on_its_own() -> None:
    assert taken(Keys(job(paths=3, sources=2), Tally()), 4) == [
        (0, "127.0.0.2"),
        (1, "127.0.0.3"),
        (2, "127.0.0.2"),
        (0, "127.0.0.3"),
    ]


def test_the_most_sources_are_all_others_and_of_the_machine_itself() -> None:
    seen = [source for _, source in taken(Keys(job(sources=MAX_SOURCES), Tally()), MAX_SOURCES)]
    addresses = [IPv4Address(source) for source in seen if source]
    assert all(address in IPv4Network("127.0.0.0/16") for address in (addresses[0], addresses[-1]))
    assert all(int(after) == int(before) + 1 for before, after in pairwise(addresses))
    assert (seen[0], seen[254], len(addresses)) == ("127.0.0.2", "127.0.1.0", MAX_SOURCES)


# -- sharing out ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["paths", "sources"])
@given(st.integers(2, 60), st.integers(1, 8))
@quick
def test_each_key_belongs_to_one_process(what: str, number: int, processes: int) -> None:
    processes = min(number, processes)
    whole = job(**{what: number}, connections=100)
    parts = []
    for part in whole.split(processes):
        own = len(range(part.share, number, part.shares))
        seen = taken(Keys(part, Tally()), 3 * own)
        assert seen == seen[:own] * 3
        parts += [key for key, _ in seen[:own]]
    assert sorted(key for key in parts if key is not None) == list(range(number))


def test_a_process_more_than_there_are_paths_uses_one_of_another() -> None:
    parts = job(paths=2, connections=3).split(3)
    assert [set(taken(Keys(part, Tally()), 3)) for part in parts] == [
        {(0, None)},
        {(1, None)},
        {(0, None)},
    ]


# -- where keys were seen ---------------------------------------------------------------------

visits = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), max_size=60)


def met(visited: list[tuple[int, str]]) -> Tally:
    """The tally of connections by these keys to these backends."""
    tally, client = Tally(), a_client()
    keys = Keys(job(paths=5), tally)
    for key, backend in visited:
        client.key = key
        keys.met(client, backend)
    return tally


@given(visits)
@quick
def test_moves_are_the_changes_of_backend_of_each_key(visited: list[tuple[int, str]]) -> None:
    by_key: dict[int, list[str]] = {}
    for key, backend in visited:
        by_key.setdefault(key, []).append(backend)
    changes = [sum(a != b for a, b in pairwise(seen)) for seen in by_key.values()]
    tally = met(visited)
    assert tally.keys == len(by_key)
    assert tally.moves == sum(changes)
    assert tally.keys_moved == sum(1 for number in changes if number)


def test_a_key_that_comes_back_has_moved_twice() -> None:
    tally = met([(0, "a"), (0, "b"), (0, "a"), (1, "a")])
    assert (tally.keys, tally.moves, tally.keys_moved) == (2, 2, 1)


def test_a_key_that_moved_in_the_warm_up_may_move_for_the_first_time_again() -> None:
    tally, client = Tally(), a_client()
    keys = Keys(job(paths=5), tally)
    client.key = 0
    keys.met(client, "a")
    keys.met(client, "b")
    tally.clear()
    keys.begin_counting()
    keys.met(client, "b")
    assert (tally.keys, tally.moves, tally.keys_moved) == (0, 0, 0)
    keys.met(client, "a")
    keys.met(client, "b")
    assert (tally.keys, tally.moves, tally.keys_moved) == (0, 2, 1)


def test_without_keys_nothing_moves() -> None:
    tally, client = Tally(), a_client()
    for backend in "abab":
        Keys(job(), tally).met(client, backend)
    assert (tally.keys, tally.moves, tally.keys_moved) == (0, 0, 0)
