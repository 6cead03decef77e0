from __future__ import annotations

import pytest

from bench.disruption import STRATEGIES, changes, imbalance, moved, table
from tests.policy.backends import named

KEYS = [b"%d" % number for number in range(500)]


def test_the_share_of_keys_that_moved() -> None:
    assert moved("aabb", "aaba") == 0.25
    assert moved("ab", "ab") == 0


def test_imbalance_is_the_most_over_the_mean() -> None:
    assert imbalance("aabc", 4) == 2.0
    assert imbalance("abab", 2) == 1.0


def test_the_least_that_can_move() -> None:
    removed, added, doubled = changes(named("a", "b", "c", "d"))
    assert [len(change.after) for change in (removed, added, doubled)] == [3, 5, 4]
    assert (removed.minimum, added.minimum) == (0.25, 0.2)
    assert doubled.minimum == pytest.approx(0.4 - 0.25)
    assert sum(backend.weight for backend in doubled.after) == 5


def test_there_is_a_line_for_each_size_and_strategy_and_each_run_is_alike() -> None:
    lines = table([3], KEYS).splitlines()
    assert len(lines) == 2 + len(STRATEGIES) + 1
    assert [line.split(" | ")[1] for line in lines[2:-1]] == list(STRATEGIES)
    assert len({line.count("|") for line in lines}) == 1
    assert table([3], KEYS) == "\n".join(lines)
