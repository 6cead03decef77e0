"""A page of metrics as prometheus-client reads it, and a plan and a scoreboard to make one from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from prometheus_client.parser import text_string_to_metric_families

from tcplb.config.models import Config
from tcplb.control.metrics_text import Family
from tcplb.control.numbering import Numbering
from tcplb.control.plan import (
    Limits,
    Plan,
    assign_numbers,
    make_plan,
    new_numbering,
    roomy_layout,
)
from tcplb.control.scoreboard import Scoreboard

Labels = frozenset[tuple[str, str]]


class Page:
    """All samples, by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: dict[tuple[str, Labels], float] = {}
        self.kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.meanings = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"twice: {key}"
                self.samples[key] = sample.value

    @classmethod
    def of(cls, families: Sequence[Family]) -> Page:
        return cls("".join(family.text() for family in families))

    def __getitem__(self, name: str) -> dict[Labels, float]:
        """All samples of that name."""
        return {labels: value for (other, labels), value in self.samples.items() if other == name}

    def value(self, name: str, **labels: str) -> float:
        """The one sample that has exactly these labels."""
        return self.samples[name, frozenset(labels.items())]

    def by(self, name: str, label: str, **where: str) -> dict[str, float]:
        """The samples of that name that have these labels, by another one."""
        found = {
            dict(labels)[label]: value
            for labels, value in self[name].items()
            if where.items() <= dict(labels).items()
        }
        assert len(found) == sum(where.items() <= dict(labels).items() for labels in self[name])
        return found

    def series_of(self, label: str, value: str) -> set[str]:
        """The names that have a sample with this label."""
        return {name for name, labels in self.samples if (label, value) in labels}

    def label_names(self) -> dict[str, set[str]]:
        """The names of the labels of each metric, `le` of histograms left out."""
        names: dict[str, set[str]] = {}
        for name, labels in self.samples:
            base = re.sub("_(bucket|count|sum)$", "", name)
            family = base if self.kinds.get(base) == "histogram" else name
            names.setdefault(family, set()).update(key for key, _ in labels if key != "le")
        return names


def buckets_of(page: Page, name: str, **labels: str) -> dict[str, float]:
    """The cumulative buckets of one histogram, which have to make sense."""
    buckets = page.by(f"{name}_bucket", "le", **labels)
    values = list(buckets.values())
    assert values == sorted(values)
    assert list(buckets)[-1] == "+Inf"
    assert page.value(f"{name}_count", **labels) == values[-1]
    assert page.value(f"{name}_sum", **labels) >= 0
    return buckets


@contextmanager
def planned(
    config: Config, numbering: Numbering | None = None, slots: int = 3
) -> Iterator[tuple[Plan, Scoreboard]]:
    """Yield the plan of `config` and a scoreboard for it, on which nothing is counted yet."""
    layout = roomy_layout(config)
    plan = plan_of(config, numbering or new_numbering(layout), slots)
    with closing(Scoreboard.create(slots, layout)) as board:
        yield plan, board


def plan_of(config: Config, numbering: Numbering, slots: int = 3) -> Plan:
    """Return the plan of `config` after that of `numbering`."""
    assign_numbers(config, numbering)
    addresses: Mapping[str, tuple[int, ...]] = {each.name: () for each in config.listeners}
    return make_plan(
        config,
        Limits(each=100, total=None),
        slots=slots,
        layout=roomy_layout(config),
        numbering=numbering,
        addresses=addresses,
    )
