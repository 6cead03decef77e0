"""What a PromQL expression asks for, and the metrics that there are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.control.metrics_stage import metrics_stage

OF_THE_SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds to all that it reads."""

_SELECTOR = re.compile(r"\b(tcplb_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


def known_metrics(folder: Path) -> dict[str, set[str]]:
    """Return the labels of every series that a balancer has, by its name."""

    async def page() -> dict[str, set[str]]:
        async with metrics_stage(folder / "tcplb.toml", workers=1) as stage:
            await stage.crew.started()
            page = stage.page()
        labels = page.label_names()
        series = {name for name, _ in page.samples}
        known = {name: labels[name] for name in series if name in labels}
        for name in series - set(known):
            base, _, part = name.rpartition("_")
            known[name] = labels[base] | ({"le"} if part == "bucket" else set())
        return known

    return asyncio.run(page())


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the names of our metrics in `expression`, with the labels that are asked for."""
    for name, matchers in _SELECTOR.findall(expression):
        yield name, set(_MATCHER.findall(matchers))


def unknown(expressions: Iterable[str], known: Mapping[str, set[str]]) -> list[str]:
    """Return what the expressions ask for that is not there, in words."""
    return [
        f"{name}{sorted(labels)} in {expression}"
        for expression in expressions
        for name, labels in selectors(expression)
        if name not in known or not labels <= known[name] | OF_THE_SCRAPE
    ]
