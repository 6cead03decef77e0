"""The cost of a pick is measured for every strategy that there is."""

from __future__ import annotations

from bench.picks import compare_picks
from bench.results import Results
from bench.settings import smoke
from tcplb.policy.names import StrategyName


def test_every_strategy_has_a_time() -> None:
    results = Results()
    compare_picks(smoke(), results, lambda _: None)
    assert results.candidates("pick") == [strategy.value for strategy in StrategyName]
    for strategy in StrategyName:
        assert results.samples("pick", strategy, "order")[0] > 0
        assert results.samples("pick", strategy, "time")[0] > 0
