"""What a ratio means for a target."""

from __future__ import annotations

import pytest

from bench.scenarios import SCENARIOS
from bench.targets import TARGETS, Target, Verdict, judge
from tests.bench.reports import measured


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (0.5, "met aim"),
        (1.15, "met aim"),
        (1.151, "met must"),
        (1.40, "met must"),
        (1.401, "missed"),
        (None, "not measured"),
    ],
)
def test_verdicts(ratio: float | None, verdict: Verdict) -> None:
    target = Target("CPU per connection", "connect", "cpu", must=1.40, aim=1.15)
    assert target.verdict(ratio) == verdict


def test_a_target_without_an_aim_is_met_or_missed() -> None:
    target = Target("p99 beside bulk", "beside-bulk", "p99", must=1.5, aim=None)
    assert [target.verdict(ratio) for ratio in (0.1, 1.5, 1.6)] == [
        "met must",
        "met must",
        "missed",
    ]


def test_targets_are_judged_by_the_median() -> None:
    verdicts = {judged.target.title: (judged.ratio, judged.verdict) for judged in judge(measured())}
    assert verdicts["CPU per connection, access log on"] == (1.5, "missed")
    assert verdicts["CPU per GB, bulk"] == (0.75, "met aim")
    assert verdicts["memory per idle pair"] == (None, "not measured")


def test_every_target_is_a_compared_measure_of_a_scenario() -> None:
    compared = {
        (scenario.name, measure.key)
        for scenario in SCENARIOS
        for measure in scenario.measures
        if measure.compared
    }
    assert {(target.scenario, target.measure) for target in TARGETS} <= compared
