from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.fingerprint import fingerprint
from tcplb.policy.names import KeyRule, StrategyName, parse_key_rule
from tcplb.policy.placement import place, synthetic_keys
from tcplb.policy.pool import Pool
from tcplb.policy.strategy import MakeStrategy
from tests.policy.backends import NAMES, WEIGHTS, weighted
from tests.policy.fresh_process import digest_by

KEYED = [StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS]
THREE = weighted(a=1, b=2, c=3)
TABLE_SIZE = 251
OTHER_TABLE_SIZE = 257

BACKENDS = st.lists(
    st.builds(
        Backend,
        name=NAMES,
        host=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        port=st.integers(1, 65535),
        weight=WEIGHTS,
        max_connections=st.integers(0, 5),
        tier=st.integers(0, 3),
    ),
    max_size=6,
    unique_by=lambda backend: backend.name,
)


def of(
    backends: Sequence[Backend] = THREE,
    strategy: str = "hash",
    key: str = "auto",
    table_size: int = TABLE_SIZE,
) -> str:
    return fingerprint(strategy, parse_key_rule(key), table_size, backends)


def places(strategy: StrategyName, backends: Sequence[Backend]) -> list[str | None]:
    rng = Random(1)
    pool = Pool("web", backends, MakeStrategy(strategy, rng, TABLE_SIZE), rng=rng)
    return [place(pool, key) for key in synthetic_keys(50)]


# -- what it looks like ---------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", KEYED)
def test_it_is_short_and_hexadecimal(strategy: str) -> None:
    assert re.fullmatch("[0-9a-f]{16}", of(strategy=strategy))


def test_it_is_that_of_every_release_that_places_alike() -> None:
    """Who has to change one of these has moved the users' keys, and raised `PLACEMENT`."""
    assert {strategy.value: of(strategy=strategy) for strategy in KEYED} == {
        "hash": "0def6cfe1bae4427",
        "maglev": "6daae60b8bbb6969",
        "rendezvous": "73ec08929f205078",
    }
    assert {strategy.value: places(strategy, THREE)[:8] for strategy in KEYED} == {
        "hash": ["c", "a", "b", "c", "c", "c", "b", "a"],
        "maglev": ["c", "a", "c", "b", "b", "a", "b", "b"],
        "rendezvous": ["b", "b", "c", "c", "c", "c", "c", "c"],
    }


def placement_digest() -> str:
    """For `digest_by`."""
    return of()


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_finds_the_same(hash_seed: str) -> None:
    assert digest_by("tests.policy.test_fingerprint", hash_seed) == of()


# -- what there is none of ------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", sorted(set(StrategyName) - set(KEYED)))
def test_a_strategy_that_places_no_keys_has_none(strategy: str) -> None:
    assert of(strategy=strategy) == ""


def test_a_function_of_the_users_own_has_none() -> None:
    assert of(strategy="my.module:pick") == ""


def test_no_backends_are_a_placement_too() -> None:
    assert of([]) == of(weighted(a=0)) != ""


# -- what it depends on ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        of(weighted(a=1, b=2)),
        of(weighted(a=1, b=2, d=3)),
        of(weighted(a=1, b=3, c=3)),
        of(weighted(a=2, b=1, c=3)),
        of([*THREE[:2], replace(THREE[2], tier=1)]),
        of([replace(THREE[0], tier=1), *THREE[1:]]),
        of(strategy="rendezvous"),
        of(key="client"),
        of(key="client/24"),
        of(key="request"),
    ],
)
def test_what_moves_keys_changes_it(other: str) -> None:
    assert other != of()


def test_different_prefixes_of_the_clients_address_differ() -> None:
    keys = ["client", "client/24", "client/25", "client/64", "client/24/64"]
    assert len({of(key=key) for key in keys}) == len(keys)


def test_the_size_of_the_table_counts_where_there_is_one() -> None:
    def sizes(strategy: str) -> set[str]:
        return {of(strategy=strategy, table_size=n) for n in (TABLE_SIZE, OTHER_TABLE_SIZE)}

    assert len(sizes("maglev")) == 2
    assert len(sizes("hash")) == len(sizes("rendezvous")) == 1


def test_names_that_look_like_the_form_it_is_made_of_do_not_mix() -> None:
    one = [Backend('a", 1], ["b', "127.0.0.1", 1)]
    two = [Backend("a", "127.0.0.1", 1), Backend("b", "127.0.0.1", 1)]
    assert of(one) != of(two)


def test_tiers_do_not_run_into_each_other() -> None:
    a, b, c = weighted(a=1, b=1, c=1)
    spread = {
        of([a, replace(b, tier=1), replace(c, tier=1)]),
        of([a, b, replace(c, tier=1)]),
        of([a, replace(b, tier=1), replace(c, tier=2)]),
        of([a, b, c]),
    }
    assert len(spread) == 4


# -- and what not -----------------------------------------------------------------------------


@given(BACKENDS, st.randoms(use_true_random=False))
def test_order_addresses_limits_and_idle_backends_do_not_count(
    backends: list[Backend], rng: Random
) -> None:
    others = [replace(each, host="other", port=1, max_connections=9) for each in backends]
    rng.shuffle(others)
    assert of(others) == of(backends)
    idle = Backend("\nidle", "10.0.0.3", 1, weight=0)
    assert of([idle, *backends]) == of(backends)


@given(BACKENDS)
def test_only_the_order_of_the_tiers_counts(backends: list[Backend]) -> None:
    assert of([replace(each, tier=3 * each.tier + 2) for each in backends]) == of(backends)


@pytest.mark.parametrize("strategy", KEYED)
@given(backends=BACKENDS, data=st.data())
def test_two_that_show_the_same_agree_on_every_key(
    strategy: StrategyName, backends: list[Backend], data: st.DataObject
) -> None:
    """Change anything at all; whoever has the same fingerprint then has the same places."""
    others = data.draw(
        st.permutations(backends).map(
            lambda shuffled: [
                replace(
                    each,
                    host="10.9.9.9",
                    weight=data.draw(st.sampled_from([each.weight, each.weight, 0, 1])),
                    tier=data.draw(st.sampled_from([each.tier, each.tier, 0, 1])),
                )
                for each in shuffled
            ]
        )
    )
    if of(others, strategy) == of(backends, strategy):
        assert places(strategy, others) == places(strategy, backends)


def test_the_key_rule_by_itself_is_what_the_text_says() -> None:
    assert fingerprint("hash", KeyRule(), TABLE_SIZE, THREE) == of(key="auto")
