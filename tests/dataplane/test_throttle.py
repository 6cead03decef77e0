from __future__ import annotations

from tcplb.dataplane.throttle import Throttle


def test_the_first_is_always_let_through() -> None:
    assert Throttle().allows(0.0)
    assert Throttle().allows(-5.0)


def test_one_in_an_interval() -> None:
    throttle = Throttle(2.0)
    times = (10.0, 10.0, 11.9, 12.0, 13.9, 14.1, 16.0, 16.1)
    assert [throttle.allows(now) for now in times] == [
        True, False, False, True, False, True, False, True,
    ]  # fmt: skip


def test_what_is_held_back_does_not_prolong_the_silence() -> None:
    throttle = Throttle(1.0)
    assert throttle.allows(0.0)
    assert not any(throttle.allows(tenth / 10) for tenth in range(1, 10))
    assert throttle.allows(1.0)
