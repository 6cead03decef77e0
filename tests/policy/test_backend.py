from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from tcplb.policy.backend import Backend


def test_a_backend_reads_as_its_name() -> None:
    assert str(Backend("b1", "127.0.0.1", 8081)) == "b1"


def test_a_backend_has_weight_1_unless_told() -> None:
    assert Backend("b1", "127.0.0.1", 8081).weight == 1


def test_a_backend_has_no_limit_unless_told() -> None:
    assert Backend("b1", "127.0.0.1", 8081).max_connections == 0


def test_a_backend_holds_no_state_that_could_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Backend("b1", "127.0.0.1", 8081).weight = 2  # type: ignore[misc]  # what must not work
