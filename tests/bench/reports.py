"""A report with known figures."""

from __future__ import annotations

from bench.report import Report, make_report
from bench.results import Results
from bench.settings import Settings

MACHINE = {"cpu": "Some <CPU> & more", "cores": "2 usable of 2", "kernel": "Linux 6.1"}


def measured() -> Results:
    """HAProxy's default is the better one per connection, splice-auto the better one in bulk."""
    results = Results()
    for candidate, connect, bulk in (
        ("haproxy", [40.0, 44.0, 42.0], 800.0),
        ("haproxy-splice", [45.0, 46.0, 47.0], 400.0),
        ("tcplb-splice", [84.0, 42.0, 63.0], 300.0),
    ):
        for value in connect:
            results.add("connect", candidate, {"cpu": value, "rate": 20_000.0})
        results.add("bulk", candidate, {"cpu": bulk, "rate": 1.5})
    results.skip("connect", "nginx", "nginx is not installed")
    results.skip("bulk", "nginx", "nginx is not installed")
    return results


def report() -> Report:
    """The report of `measured`."""
    return make_report(measured(), Settings(rounds=3), MACHINE, {"haproxy": "2.6: no log"})
