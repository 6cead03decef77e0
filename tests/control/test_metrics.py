from __future__ import annotations

import asyncio
import json
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tcplb import __version__
from tcplb.config.changes import AddBackend, RemoveBackend, SetState, SetWeight
from tcplb.config.models import BackendConfig
from tcplb.control.limits import connection_limit
from tcplb.control.metrics import Metrics
from tcplb.control.scoreboard import Scoreboard
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.termination import Termination
from tcplb.errors import TcplbError
from tests.control.metrics_page import Page, buckets_of
from tests.control.metrics_stage import STARTED_AT, TOML, Stage, metrics_stage

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(tcplb_\w+)` \| ([^|]*)\| ([^|]*)\|$", re.MULTILINE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tcplb.toml"


def count_something(board: Scoreboard, stage: Stage) -> None:
    """Have all kinds of things counted, by several workers."""
    for slot in range(3):
        for listener in stage.serving.plan.listeners:
            for number in (*listener.routes, listener.unrouted):
                route = board.route(slot, number)
                route.count_connect(0.002)
                route.count_failure()
                route.count_bytes(10, 20)
                for termination in Termination:
                    route.count_end(termination, 3.0)


# -- the page as a whole ----------------------------------------------------------------------


def documented() -> dict[str, set[str]]:
    """The labels of each metric in the tables of the docs."""
    found = ROW.findall(DOCS.read_text())
    assert len({name for name, _, _ in found}) == len(found)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels, _ in found}


def tables() -> Iterator[tuple[str, str]]:
    for name, _, meaning in ROW.findall(DOCS.read_text()):
        yield name, meaning


async def test_the_docs_name_exactly_what_there_is(file: Path) -> None:
    async with metrics_stage(file, workers=1) as stage:
        await stage.crew.started()
        page = stage.page()
    assert page.label_names() == documented()
    for name, meaning in tables():
        kind = page.kinds[name]
        assert meaning.startswith("histogram: ") == (kind == "histogram"), name
        assert name.endswith("_total") == (kind == "counter"), name


async def test_every_metric_says_what_it_is(file: Path) -> None:
    async with metrics_stage(file) as stage:
        page = stage.page()
    assert set(page.meanings) == set(page.kinds)
    for name, meaning in page.meanings.items():
        assert meaning.endswith("."), name
        assert "\\" not in meaning, name
    assert page.text.endswith("\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
async def test_promtool_has_nothing_to_say(file: Path) -> None:
    async with metrics_stage(file, workers=1) as stage:
        await stage.crew.started()
        count_something(stage.board, stage)
        text = stage.metrics.text()
    done = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=text, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_all_that_is_counted_is_on_one_page(file: Path) -> None:
    async with metrics_stage(file) as stage:
        count_something(stage.board, stage)
        page = stage.page()
    where = {"listener": "front", "pool": "web", "backend": "b2"}
    assert page.value("tcplb_connect_failures_total", **where) == 3
    assert page.by("tcplb_bytes_total", "direction", **where) == {"up": 30, "down": 60}
    ends = 3 * len(Termination)
    assert buckets_of(page, "tcplb_session_duration_seconds", **where)["+Inf"] == ends
    assert page.value("tcplb_refused_total", listener="side", reason="denied") == 3


async def test_two_scrapes_of_the_same_say_the_same(file: Path) -> None:
    async with metrics_stage(file, proc=file.parent) as stage:
        count_something(stage.board, stage)
        assert stage.metrics.text() == stage.metrics.text()


# -- accepting --------------------------------------------------------------------------------


async def test_accepting_and_strategies(file: Path) -> None:
    async with metrics_stage(file) as stage:
        for slot in range(2):
            counters = Counters(pauses=1, accept_failures=20, strategy_failures=300)
            stage.board.publish(slot, 1.0, counters)
        page = stage.page()
    assert page.value("tcplb_accept_pauses_total") == 2
    assert page.value("tcplb_accept_failures_total") == 40
    assert page.value("tcplb_strategy_failures_total") == 600


async def test_an_automatic_limit_is_that_of_each_worker(file: Path) -> None:
    fitting = connection_limit(None)
    assert await _most_connections(file, "auto") == (2 * fitting, fitting, fitting)


async def test_a_limit_that_is_a_number_is_that_of_all_workers(file: Path) -> None:
    assert await _most_connections(file, 150) == (150, 150, 150)


async def test_a_limit_that_does_not_fit_into_one_worker_may_fit_into_two(file: Path) -> None:
    fitting = connection_limit(None)
    assert await _most_connections(file, fitting + 1) == (fitting + 1, fitting, fitting)


async def _most_connections(file: Path, limit: int | str) -> tuple[float, float, float]:
    """Return what is said of two workers, then of one and another that drains, then of none."""
    toml = f"{TOML}[limits]\nmax_connections = {json.dumps(limit)}\n"
    async with metrics_stage(file, toml, workers=2) as stage:
        await stage.crew.started()
        two = stage.value("tcplb_max_connections")
        stage.crew.remove(60.0)
        one = stage.value("tcplb_max_connections")
        await stage.crew.drain(60.0, asyncio.Event())
        return two, one, stage.value("tcplb_max_connections")


# -- reloads ----------------------------------------------------------------------------------


async def test_before_any_reload(file: Path) -> None:
    async with metrics_stage(file) as stage:
        page = stage.page()
        loaded_at = stage.operator.configuration.loaded_at
    assert page.by("tcplb_reloads_total", "result") == {"success": 0, "failure": 0}
    assert page.value("tcplb_last_reload_success") == 1
    assert page.value("tcplb_last_reload_timestamp_seconds") == loaded_at
    assert page.value("tcplb_runtime_changes") == 0


async def test_reloads_that_fail_and_succeed(file: Path) -> None:
    async with metrics_stage(file) as stage:
        write(file, TOML.replace("hash", "hush"))
        before = time.time()
        with pytest.raises(TcplbError):
            await stage.operator.reload()
        page = stage.page()
        assert page.by("tcplb_reloads_total", "result") == {"success": 0, "failure": 1}
        assert page.value("tcplb_last_reload_success") == 0
        assert before <= page.value("tcplb_last_reload_timestamp_seconds") <= time.time()
        write(file, TOML)
        await stage.operator.reload()
        await stage.operator.reload()
        page = stage.page()
        assert page.by("tcplb_reloads_total", "result") == {"success": 2, "failure": 1}
        assert page.value("tcplb_last_reload_success") == 1


async def test_runtime_changes_are_counted_and_in_force(file: Path) -> None:
    async with metrics_stage(file) as stage:
        await stage.operator.change(SetState("web", "b1", "draining"))
        await stage.operator.change(SetWeight("web", "b2", 9))
        page = stage.page()
        assert page.value("tcplb_runtime_changes") == 2
        assert page.value("tcplb_backend_up", pool="web", backend="b1") == 0
        assert page.value("tcplb_backend_weight", pool="web", backend="b2") == 9
        assert page.value("tcplb_pool_usable_backends", pool="web") == 1
        await stage.operator.reload(discard_changes=True)
        assert stage.value("tcplb_runtime_changes") == 0


async def test_a_backend_is_on_the_page_as_long_as_it_is_configured(file: Path) -> None:
    async with metrics_stage(file) as stage:
        names = stage.page().series_of("backend", "b2")
        assert len(names) > 10
        await stage.operator.change(RemoveBackend("web", "b2"))
        assert stage.page().series_of("backend", "b2") == set()
        added = BackendConfig(name="b2", address="127.0.0.1:89")
        await stage.operator.change(AddBackend("web", added))
        assert stage.page().series_of("backend", "b2") == names


async def test_the_fingerprint_follows_a_reload(file: Path) -> None:
    def fingerprints(page: Page) -> set[str]:
        return set(page.by("tcplb_ring_fingerprint_info", "fingerprint"))

    async with metrics_stage(file) as stage:
        before = fingerprints(stage.page())
        await stage.operator.change(SetState("web", "b1", "draining"))
        assert fingerprints(stage.page()) == before
        await stage.operator.change(SetWeight("web", "b1", 2))
        assert fingerprints(stage.page()) != before
        assert len(before) == 1


# -- itself -----------------------------------------------------------------------------------


async def test_what_is_running_and_since_when(file: Path) -> None:
    async with metrics_stage(file) as stage:
        page = stage.page()
    versions = {
        "version": __version__,
        "python": platform.python_version(),
        "uvloop": metadata.version("uvloop"),
    }
    assert page.value("tcplb_build_info", **versions) == 1
    assert page.value("tcplb_start_time_seconds") == STARTED_AT


async def test_it_has_started_now_and_its_clock_is_that_of_the_workers(file: Path) -> None:
    async with metrics_stage(file, workers=1) as stage:
        before = time.time()
        metrics = Metrics(stage.serving, stage.operator)
        after = time.time()
        stage.board.publish(0, time.monotonic(), Counters())
        page = Page(metrics.text().decode())
    assert before <= page.value("tcplb_start_time_seconds") <= after
    assert page.value("tcplb_worker_heartbeat_age_seconds", worker="1") < 60


def write(file: Path, text: str) -> None:
    file.write_text(text)
