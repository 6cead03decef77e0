"""What a page of metrics costs, as we write it and as prometheus-client would.

By hand::

    python -m tests.control.metrics_cost [--backends 200]
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from statistics import median

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from tcplb.dataplane.termination import Termination
from tests.control.metrics_stage import Stage, metrics_stage

TIMES = 25
TOML = """
[[listeners]]
name = "front"
bind = "127.0.0.1:0"
pool = "web"
[pools.web]
strategy = "hash"
backends = [{backends}]
"""


class Kept(Collector):
    """The least that a collector of ours would do: names and labels are kept, values are added.

    To read the values from the scoreboard would come on top.
    """

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def collect(self) -> Iterator[Metric]:
        for each in self._families:
            metric = Metric(each.name, each.documentation, each.type)
            for sample in each.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric


def count_something(stage: Stage) -> None:
    """Have each route used, with connections that end as they should."""
    for listener in stage.serving.plan.listeners:
        for number in (*listener.routes, listener.unrouted):
            route = stage.board.route(0, number)
            route.count_connect(0.002)
            route.count_bytes(1_000, 20_000)
            route.count_end(Termination.NORMAL, 3.0)


def cost(work: Callable[[], object]) -> str:
    """CPU time of this process, so that others on the machine count for less."""
    spent = []
    for _ in range(TIMES):
        began = time.process_time()
        work()
        spent.append((time.process_time() - began) * 1e3)
    return f"median {median(spent):.1f} ms, least {min(spent):.1f} ms"


async def measure(backends: int) -> list[str]:
    """Return what both cost, in lines."""
    addresses = (f'{{ address = "10.0.{n // 250}.{n % 250}:80" }}' for n in range(backends))
    toml = TOML.format(backends=", ".join(addresses))
    with tempfile.TemporaryDirectory() as folder:
        async with metrics_stage(Path(folder, "tcplb.toml"), toml) as stage:
            count_something(stage)
            text = stage.metrics.text()
            registry = CollectorRegistry()
            registry.register(Kept(text.decode()))
            lines = text.count(b"\n")
            return [
                f"{backends} backends, {lines:,} lines, {len(text):,} bytes, "
                f"compressed {len(gzip.compress(text, compresslevel=1)):,}",
                f"tcplb, reading the scoreboard included: {cost(stage.metrics.text)}",
                f"tcplb, compressing it: {cost(lambda: gzip.compress(text, compresslevel=1))}",
                f"prometheus-client {metadata.version('prometheus-client')}: "
                f"{cost(lambda: generate_latest(registry))}",
            ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what a page of metrics costs.")
    parser.add_argument("--backends", type=int, default=200)
    print(*asyncio.run(measure(parser.parse_args().backends)), sep="\n")  # noqa: T201
