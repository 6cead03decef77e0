from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.maglev import Maglev, is_prime
from tests.policy.backends import DEFAULT_NAMES, backend, backend_lists, named, names, weighted
from tests.policy.fresh_process import digest_by

KEYS = tuple(b"/page/%d" % index for index in range(2000))
SMALL = 1009
quick = settings(max_examples=30, deadline=None)


def placement_digest() -> str:
    """Return a digest of the whole order of 300 keys in a table of unequal weights."""
    table = Maglev([backend(name, index) for index, name in enumerate(DEFAULT_NAMES)], SMALL)
    placements = (",".join(names(table.order(b"/%d" % index))) for index in range(300))
    return sha256("\n".join(placements).encode()).hexdigest()


def owners(backends: list[Backend], size: int = SMALL) -> dict[bytes, str]:
    table = Maglev(backends, size)
    return {key: next(table.order(key)).name for key in KEYS}


@given(backend_lists(), st.sampled_from([2, 3, 5, 101, SMALL]), st.binary(max_size=20))
@quick
def test_order_yields_each_backend_of_positive_weight_once_and_ends(
    backends: list[Backend], size: int, key: bytes
) -> None:
    # Tables that are smaller than the list among them.
    table = Maglev(backends, size)
    expected = sorted(one.name for one in backends if one.weight > 0)
    assert sorted(names(table.order(key))) == expected
    assert names(table.order(key)) == names(table.order(key))
    assert set(table.shares()) == set(expected)
    assert sum(table.shares().values()) == pytest.approx(int(bool(expected)))


def test_100_equal_backends_have_shares_within_1_percent_of_even() -> None:
    shares = Maglev(named(*(f"10.0.0.{number}:80" for number in range(100)))).shares()
    assert len(shares) == 100
    assert all(0.0099 <= share <= 0.0101 for share in shares.values())


@given(backend_lists(min_size=1, weights=st.integers(1, 256)))
@quick
def test_shares_are_within_two_slots_of_the_weights(backends: list[Backend]) -> None:
    total = sum(one.weight for one in backends)
    shares = Maglev(backends, SMALL).shares()
    for one in backends:
        assert shares[one.name] == pytest.approx(one.weight / total, abs=2 / SMALL)


def test_shares_agree_with_counted_keys() -> None:
    table = Maglev(weighted(a=3, b=1, c=2), SMALL)
    counted = Counter(next(table.order(b"%d" % number)).name for number in range(20_000))
    for name, share in table.shares().items():
        assert counted[name] / 20_000 == pytest.approx(share, abs=0.015)


@given(st.data())
@quick
def test_the_order_of_the_backends_in_the_config_does_not_matter(data: st.DataObject) -> None:
    backends = data.draw(backend_lists(min_size=2, weights=st.integers(1, 3)))
    one, other = Maglev(backends, 101), Maglev(data.draw(st.permutations(backends)), 101)
    assert all(names(one.order(key)) == names(other.order(key)) for key in KEYS[:50])


@given(backend_lists(min_size=2, weights=st.integers(1, 3)), st.data())
@quick
def test_removing_a_backend_moves_few_keys_but_its_own_and_its_return_brings_back_all(
    backends: list[Backend], data: st.DataObject
) -> None:
    removed = data.draw(st.sampled_from(backends))
    rest = [one for one in backends if one is not removed]
    before, without = owners(backends), owners(rest)
    others = [key for key in KEYS if before[key] != removed.name]
    moved = sum(before[key] != without[key] for key in others)
    assert moved <= 0.25 * len(others) + 5
    assert owners([*rest, removed]) == before


def test_a_skipped_owner_is_followed_by_the_next_distinct_one_in_the_table() -> None:
    table = Maglev(named("a", "b", "c", "d"), 101)
    slots = names(table._table)
    for key in KEYS[:100]:
        order = names(table.order(key))
        start = next(i for i in range(101) if slots[i] == order[0] and _lap(slots, i) == order)
        assert slots[start] == order[0]


def _lap(slots: list[str], start: int) -> list[str]:
    return list(dict.fromkeys(slots[start:] + slots[:start]))


def test_placement_never_changes() -> None:
    # A change of hash, seeds or rules moves users' keys. If that is meant, say so in the changelog,
    # and only then write this anew.
    table = Maglev(named(*DEFAULT_NAMES))
    placed = {key: "".join(name[-1] for name in names(table.order(key))) for key in GOLDEN}
    assert placed == GOLDEN
    assert placement_digest() == GOLDEN_DIGEST


GOLDEN: dict[bytes, str] = {
    b"": "2143",
    b"/": "4321",
    b"/x": "4231",
    b"127.0.0.1": "3214",
    b"2001:db8::1": "2413",
    b"\xff\x00": "4312",
}
GOLDEN_DIGEST = "cfc8ac94aaa55045d26bd1d530058306d35670ff577b28eb2777b1658cf2baa9"


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_a_fresh_process_with_another_hash_seed_places_keys_alike(seed: str) -> None:
    assert digest_by("tests.policy.test_maglev", seed) == GOLDEN_DIGEST


def test_the_primes_below_60() -> None:
    primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]
    assert [number for number in range(-3, 60) if is_prime(number)] == primes
    assert is_prime(65537)
    assert not is_prime(65536)
    assert not is_prime(251 * 251)


@pytest.mark.parametrize("size", [-7, 0, 1, 4, 65536, 251 * 257])
def test_a_table_size_that_is_no_prime_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        Maglev(named("a"), size)
