"""`tcplb bench`: what it accepts, what it prints, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.invoke import invoke
from tests.processes import echo_backends, free_port, port_of, tcplb
from tests.terminal import Terminal

NOBODY = "127.0.0.1:1"
"""Where usage errors are found before anybody is looked for."""


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    with echo_backends() as (running,):
        yield port_of(running)


def report(*arguments: str) -> dict[str, Any]:
    """Return the JSON report of a run that has to end well."""
    with tcplb("bench", *arguments, "--format", "json", "--quiet") as running:
        code = running.wait()
        assert code == 0, running.output
        found = json.loads(running.output)
        assert isinstance(found, dict)
        return found


# What it accepts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((NOBODY, "--mode", "request"), "write the target as http://127.0.0.1:1/"),
        ((NOBODY, "--burst", "5"), "--burst is of the open loop: --rate"),
        ((NOBODY, "--paths", "5"), "--paths is for http:// targets"),
        ((f"http://{NOBODY}/", "--paths", "65"), "as many --connections, or --mode connect"),
        ((NOBODY, "--mode", "idle", "--rate", "5"), "has no --rate and no --count"),
        ((NOBODY, "--ramp", "11s"), "--ramp is longer than the run"),
        ((NOBODY, "--payload", "0"), "needs a --payload of at least one byte"),
        ((NOBODY, "--mode", "bulk", "--payload", "0"), "is for --mode bulk of an http:// target"),
        ((NOBODY, "--payload", "1GiB"), "must be at most 64MiB (got 1GiB)"),
        ((NOBODY, "--payload", "much"), "must be a size such as 512B, 64KiB or 1MiB"),
        ((NOBODY, "--duration", "10"), "must be a duration such as 250ms, 5s or 1h"),
        ((NOBODY, "--duration", "25h"), "must be from 0.1s to 24h"),
        ((NOBODY, "--expect", "p98<20ms"), "p98"),
        ((NOBODY, "--html", "/no/such/directory/page.html"), "there is no directory /no/such"),
        ((NOBODY, NOBODY), "one TARGET at a time"),
        ((NOBODY, "--chaos"), "leave the target away"),
        ((NOBODY, "--hgrm", "--format", "json"), "leave --format away"),
        (("--compare", f"a={NOBODY}"), "a comparison needs two targets"),
        (("--compare", f"a={NOBODY}", NOBODY), "is not NAME=TARGET"),
        (("--compare", f"a={NOBODY}", f"a={NOBODY}"), "two targets are called 'a'"),
        (("--compare", f"a={NOBODY}", f"b={NOBODY}", "--hgrm"), "--hgrm is of one target"),
        (("192.0.2.1:80",), "--allow-remote allows that"),
        (("https://127.0.0.1/",), "TLS"),
        (("nonsense",), "nonsense"),
        (("[::1]:80", "--source-addresses", "2"), "only for targets on it"),
        ((NOBODY, "--connections", "1000000"), "more file descriptors"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    result = invoke("bench", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.split())


# One target


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("mode", "url"),
    [
        ("echo", False),
        ("echo", True),
        ("request", True),
        ("connect", False),
        ("connect", True),
        ("connect-only", False),
        ("bulk", False),
        ("bulk", True),
        ("churn", False),
        ("churn", True),
    ],
)
def test_every_mode_loads_and_reports(mode: str, url: bool, backend: int) -> None:
    target = f"http://127.0.0.1:{backend}/" if url else f"127.0.0.1:{backend}"
    found = report(target, "--mode", mode, "--count", "30", "--connections", "3")
    assert (found["target"], found["mode"], found["errors"]) == (target, mode, 0)
    assert found["requests"] >= 30
    assert found["requests_per_second"] > 0
    if mode != "connect-only":
        assert [each["name"] for each in found["backends"]] == [f"127.0.0.1:{backend}"]
        assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99_9"]


@pytest.mark.e2e
def test_idle_holds_connections(backend: int) -> None:
    found = report(
        f"127.0.0.1:{backend}", "--mode", "idle", "--connections", "20", "--duration", "1s"
    )
    assert (found["errors"], found["connections"], found["requests"]) == (0, 20, 40)
    assert found["timeline"][0]["open"] == 20


@pytest.mark.e2e
def test_the_open_loop_and_its_flags_are_in_the_report(backend: int) -> None:
    found = report(
        *(f"http://127.0.0.1:{backend}/x", "--rate", "200", "--burst", "10", "--ramp", "200ms"),
        *("--warmup", "200ms", "--duration", "500ms", "--processes", "2", "--connections", "8"),
        *("--mode", "connect", "--paths", "10", "--source-addresses", "4", "--timeout", "3s"),
    )
    load = found["load"]
    assert (load["kind"], load["rate"], load["processes"]) == ("open", 200, 2)
    assert (load["burst"], load["paths"], load["source_addresses"]) == (10, 10, 4)
    assert (load["timeout_seconds"], load["warmup_seconds"]) == (3, 0.2)
    assert (found["keys"]["seen"], found["keys"]["moved"]) == (10, 0)


@pytest.mark.e2e
def test_csv_has_one_line_a_run(backend: int) -> None:
    with tcplb("bench", f"127.0.0.1:{backend}", "-n", "50", "--format", "csv", "-q") as running:
        assert running.wait() == 0
    (row,) = csv.DictReader(io.StringIO(running.output))
    assert (row["mode"], row["requests"], row["errors"]) == ("echo", "50", "0")


@pytest.mark.e2e
def test_hgrm_is_the_distribution_alone(backend: int) -> None:
    with tcplb("bench", f"127.0.0.1:{backend}", "-n", "50", "--hgrm", "-q") as running:
        assert running.wait() == 0
    assert re.match(r"\s*Value\s+Percentile\s+TotalCount", running.output)
    assert re.search(r"Total count\s*=\s*50\]", running.output)


@pytest.mark.e2e
def test_html_is_written_beside_the_report(backend: int, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with tcplb("bench", f"127.0.0.1:{backend}", "-n", "50", "--html", str(page)) as running:
        assert running.wait() == 0
    assert "echo against" in running.output
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.e2e
def test_a_page_that_cannot_be_written_costs_no_report(backend: int) -> None:
    with tcplb("bench", f"127.0.0.1:{backend}", "-n", "50", "--html", "/dev/full") as running:
        assert running.wait() == 1
    assert "echo against" in running.output
    assert "No space left on device" in running.output
    assert "Traceback" not in running.output


@pytest.mark.e2e
def test_a_missed_gate_ends_it_with_99_and_a_met_one_does_not(backend: int) -> None:
    with tcplb(
        *("bench", f"127.0.0.1:{backend}", "-n", "50"),
        *("--expect", "errors==0", "--expect", "requests<50", "--expect", "imbalance<1.2"),
    ) as running:
        assert running.wait() == 99
    assert "errors==0: 0, met" in running.output
    assert "requests<50: 50, missed" in running.output
    assert "imbalance<1.2: 1.00, met" in running.output


@pytest.mark.e2e
def test_nobody_there_is_a_failure_with_its_cause() -> None:
    with tcplb("bench", f"127.0.0.1:{free_port()}", "-n", "5", "-c", "1") as running:
        assert running.wait() == 1
    assert "nothing succeeded: connection refused" in running.output


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_prints_what_was_measured_so_far(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with tcplb("bench", address, "-c", "1", "--duration", "60s", "--timeout", "50s") as running:
            client, _ = server.accept()  # so the load has begun
            running.signal(number)
            assert running.wait() == 0
            client.close()
    assert "interrupted" in running.output.lower()
    assert running.mark.processes() == {}


@pytest.mark.e2e
def test_on_a_terminal_a_bar_shows_how_far_it_is_and_the_live_rate(backend: int) -> None:
    command = (sys.executable, "-m", "tcplb", "bench", f"http://127.0.0.1:{backend}/")
    with Terminal(*command, "--duration", "2s", size=(120, 30)) as terminal:
        terminal.wait_for(rf"request http://127\.0\.0\.1:{backend}/.*[\d,]+/s, 0 errors")
        assert terminal.wait() == 0
        terminal.wait_for("request against")
    with Terminal(*command, "--count", "10", "--quiet") as terminal:
        assert terminal.wait() == 0
        assert "━" not in terminal.output


# Several targets


@pytest.mark.e2e
def test_a_comparison_prints_ratios(backend: int) -> None:
    target = f"127.0.0.1:{backend}"
    with tcplb(
        *("bench", "--compare", f"one={target}", f"two={target}", "--rounds", "2"),
        *("--duration", "200ms", "--format", "json", "-q"),
    ) as running:
        assert running.wait() == 0
    found = json.loads(running.output)
    assert (found["base"], found["names"], found["rounds"]) == ("one", ["one", "two"], 2)
    assert [run["name"] for run in found["runs"]] == ["one", "two", "one", "two"]


# Without a target


@pytest.mark.e2e
def test_without_a_target_it_starts_a_balancer_and_leaves_nothing() -> None:
    with tcplb(
        *("bench", "--duration", "300ms", "--warmup", "0s", "--backends", "3"),
        *("--strategy", "least-connections", "--workers", "2", "--expect", "errors==0"),
    ) as running:
        assert running.wait() == 0, running.output
    for mode in ("connect", "request", "echo", "bulk"):
        assert re.search(rf"^{mode}: {mode} against ", running.output, re.MULTILINE)
    assert "3 echo backends" in running.output
    assert "strategy least-connections" in running.output
    assert running.mark.processes() == {}


@pytest.mark.e2e
def test_chaos_kills_and_restarts_on_a_printed_schedule() -> None:
    with tcplb("bench", "--chaos", "--duration", "4s", "--rate", "200") as running:
        assert running.wait() == 0, running.output
    assert re.search(
        r"^schedule: 0\.6 s kill 127\.0\.0\.1:\d+, 2\.0 s restart", running.output, re.MULTILINE
    )
    assert re.search(r"^ +\d\.\d s  killed 127\.0\.0\.1:\d+", running.output, re.MULTILINE)
    assert re.search(r"^outage +killed at +ejected after", running.output, re.MULTILINE)
    assert running.mark.processes() == {}


@pytest.mark.e2e
def test_the_schema_in_the_docs_is_what_json_follows(backend: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(Path("docs/bench-report.schema.json").read_text())
    jsonschema.validate(report(f"http://127.0.0.1:{backend}/", "-n", "50"), schema)
