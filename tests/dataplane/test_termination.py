from __future__ import annotations

import pytest

from tcplb.dataplane.termination import Phase, Termination, after_failed_dial
from tcplb.policy.outcome import Outcome


@pytest.mark.parametrize("termination", list(Termination), ids=lambda member: member.name)
def test_every_code_has_two_letters_and_a_reason(termination: Termination) -> None:
    assert len(termination.code) == 2
    cause, phase = list(termination.code)
    assert cause in "-CSRKIPcs"
    assert phase in "-RQCD"
    assert termination.reason
    assert termination.reason[0].islower()


def test_every_way_to_end_has_a_reason_of_its_own() -> None:
    """Two members of an Enum with equal values would be one."""
    assert len({member.reason for member in Termination.__members__.values()}) == len(
        Termination.__members__
    )


@pytest.mark.parametrize("phase", list(Phase), ids=lambda member: member.name)
def test_a_phase_knows_what_it_is_called_when_cut_off(phase: Phase) -> None:
    assert phase.killed.code[0] == "K"
    assert phase.bug.code[0] == "I"
    assert phase.killed.code[1] == phase.bug.code[1]


@pytest.mark.parametrize(
    ("outcome", "termination"),
    [
        (Outcome.REFUSED, Termination.CONNECT_FAILED),
        (Outcome.UNREACHABLE, Termination.CONNECT_FAILED),
        (Outcome.UNRESOLVED, Termination.CONNECT_FAILED),
        (Outcome.TIMED_OUT, Termination.CONNECT_TIMED_OUT),
        (Outcome.NO_RESOURCES, Termination.NO_RESOURCES),
    ],
)
def test_after_failed_dial(outcome: Outcome, termination: Termination) -> None:
    assert after_failed_dial(outcome) is termination
    assert termination.without_backend


def test_sessions_that_had_a_backend_were_not_turned_away() -> None:
    assert not Termination.NORMAL.without_backend
    assert not Termination.BACKEND_RESET.without_backend
    assert not Termination.CLIENT_RESET_CONNECTING.without_backend
