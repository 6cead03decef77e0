from __future__ import annotations

import pytest

from tcplb.policy.outcome import Outcome

BLAMED = (
    Outcome.REFUSED,
    Outcome.TIMED_OUT,
    Outcome.UNREACHABLE,
    Outcome.UNRESOLVED,
    Outcome.NO_ANSWER,
)
NOT_BLAMED = (Outcome.CONNECTED, Outcome.NO_RESOURCES, Outcome.ABANDONED)


@pytest.mark.parametrize("outcome", BLAMED)
def test_a_dial_that_the_backend_failed_blames_it(outcome: Outcome) -> None:
    assert outcome.blames_backend


@pytest.mark.parametrize("outcome", NOT_BLAMED)
def test_success_and_our_own_troubles_blame_nobody(outcome: Outcome) -> None:
    assert not outcome.blames_backend


def test_somebody_has_thought_about_the_blame_of_every_outcome() -> None:
    assert set(Outcome) == {*BLAMED, *NOT_BLAMED}


def test_every_outcome_reads_as_plain_english() -> None:
    assert all(outcome.value == outcome.value.strip() != "" for outcome in Outcome)
    assert Outcome.TIMED_OUT.value == "timed out"
