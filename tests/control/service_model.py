"""Settings and plans for tests of what becomes of a worker when it gets another plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tcplb.config.models import Config
from tcplb.control.leaving import Leaving
from tcplb.control.numbering import Numbering
from tcplb.control.plan import Limits, Plan, assign_numbers, make_plan, new_numbering
from tcplb.control.scoreboard import Layout, Scoreboard

LAYOUT = Layout(60, 20, 20, 40, 99)
SLOTS = 2

Table = Mapping[str, Any]


def backends(*names: str, port: int = 80, **more: Any) -> list[dict[str, Any]]:
    """Return backends of these names on addresses that nobody dials."""
    return [{"name": name, "address": f"10.0.0.{ord(name[0])}:{port}", **more} for name in names]


def settings(listeners: Mapping[str, Table], **pools: Table) -> Config:
    """Return settings in which each listener, by its name, says at least its pool."""
    tables = [
        {"name": name, "bind": f"127.0.0.1:{9000 + ord(name[0])}", "engine": "streams", **listener}
        for name, listener in listeners.items()
    ]
    return Config.model_validate({"listeners": tables, "pools": pools})


class Plans:
    """The supervisor's side: one plan after the other, and the numbers of all that is in them."""

    def __init__(self, board: Scoreboard) -> None:
        self.board = board
        self.leaving = Leaving(new_numbering(LAYOUT), board)
        self.last: Plan | None = None

    @property
    def numbering(self) -> Numbering:
        return self.leaving.numbering

    def next(self, config: Config, workers: Sequence[int] = (0,)) -> Plan:
        """Return the plan for `config`, of which `workers` will hear."""
        numbering = self.numbering.copy()
        assign_numbers(config, numbering)
        plan = self.last = make_plan(
            config,
            Limits(each=1000, total=None),
            slots=SLOTS,
            layout=LAYOUT,
            numbering=numbering,
            addresses={each.name: (ord(each.name[0]),) for each in config.listeners},
            generation=0 if self.last is None else self.last.generation + 1,
        )
        self.leaving.begin(numbering, plan.generation, workers)
        return plan
