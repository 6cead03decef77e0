from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.payloads import Payloads

quick = settings(max_examples=20, deadline=None)


@given(st.integers(8, 100_000), st.integers())
@quick
def test_payloads_have_the_size_and_each_is_another_one(size: int, seed: int) -> None:
    payloads = Payloads(size, seed)
    some = [payloads.next() for _ in range(200)]
    assert {len(payload) for payload in some} == {size}
    assert len({payload[:8] for payload in some}) == 200


@given(st.integers(0, 100), st.integers())
@quick
def test_the_seed_decides_them(size: int, seed: int) -> None:
    one, other = Payloads(size, seed), Payloads(size, seed)
    assert [one.next() for _ in range(10)] == [other.next() for _ in range(10)]


def test_other_seeds_give_others() -> None:
    assert len({Payloads(16, seed).next() for seed in range(20)}) == 20


@pytest.mark.parametrize("size", [0, 1, 8 << 20])
def test_any_size_will_do_from_anywhere_in_the_pool(size: int) -> None:
    payloads = Payloads(size, seed=1)
    assert {len(payloads.next()) for _ in range(300)} == {size}
