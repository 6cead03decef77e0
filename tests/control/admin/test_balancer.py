from __future__ import annotations

from pathlib import Path

from tcplb.control.admin.balancer import Balancer
from tests.control.metrics_stage import metrics_stage


async def test_figures_are_worked_out_once_for_all_who_can_do_with_some_age(tmp_path: Path) -> None:
    now = 100.0
    async with metrics_stage(tmp_path / "tcplb.toml") as stage:
        balancer = Balancer(stage.serving, stage.operator, clock=lambda: now)
        first = balancer.stats()
        now += 0.2
        assert balancer.stats(max_age=0.5) is first
        assert balancer.stats() is not first  # who wants them new gets them new
        second = balancer.stats(max_age=0.5)
        now += 0.6
        assert balancer.stats(max_age=0.5) is not second
