"""The prober with real servers and short intervals: what it tells, of whom, and when it stops."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from tcplb.config.models import BackendConfig, CheckConfig, PoolConfig
from tcplb.control.check_answers import CheckResult
from tcplb.control.prober import MAX_UNDER_WAY, Prober
from tcplb.policy.backend import Backend
from tcplb.policy.transition import Checked, Transition
from tests.control.test_checks import on_uvloop, silent
from tests.peers import PATIENCE, Net, RefusingPort, Server, eventually

QUICK = 0.02
"""Seconds of an interval, so that a test need not wait."""


class Heard:
    """All that a prober tells."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Transition]] = []
        self.passes: list[tuple[str, str, float]] = []

    def changed(self, pool: str, transition: Transition) -> None:
        self.changes.append((pool, transition))

    def passed(self, pool: str, backend: str, began: float) -> None:
        self.passes.append((pool, backend, began))

    def states(self) -> list[Checked]:
        return [t.state for _, t in self.changes if isinstance(t.state, Checked)]

    def passes_of(self, backend: str) -> int:
        return sum(name == backend for _, name, _ in self.passes)


def quick(**settings: Any) -> CheckConfig:
    return CheckConfig(
        **{"interval": QUICK, "fast_interval": QUICK, "timeout": PATIENCE, **settings}
    )


def config(name: str, target: Server | RefusingPort, **settings: Any) -> BackendConfig:
    return BackendConfig(name=name, address=f"{target.host}:{target.port}", **settings)


def pool(check: CheckConfig | None, *backends: BackendConfig) -> PoolConfig:
    return PoolConfig(check=check, backends=backends)


@asynccontextmanager
async def probing(
    heard: Heard,
    *,
    clock: Callable[[], float] | None = None,
    prepare: Any = None,
    **pools: PoolConfig,
) -> AsyncIterator[Prober]:
    options: dict[str, Any] = {} if clock is None else {"clock": clock}
    if prepare is not None:
        options["prepare"] = prepare
    prober = Prober(pools, heard.changed, heard.passed, rng=Random(1), **options)
    prober.start()
    try:
        yield prober
    finally:
        await prober.close()


class Fake:
    """Stands for `Check`: a check that a test holds up, counts and lets end."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.begun: list[str] = []
        self.open = 0
        self.go_on = asyncio.Event()
        self.results: list[CheckResult | Exception] = []

    def __call__(self, check: CheckConfig, backend: Backend) -> _OneFake:
        return _OneFake(self, backend)


class _OneFake:
    def __init__(self, fake: Fake, backend: Backend) -> None:
        self._fake = fake
        self._backend = backend
        fake.open += 1

    async def run(self) -> CheckResult:
        self._fake.begun.append(self._backend.name)
        self._fake.under_way += 1
        self._fake.most = max(self._fake.most, self._fake.under_way)
        try:
            await self._fake.go_on.wait()
        finally:
            self._fake.under_way -= 1
        result = self._fake.results.pop(0) if self._fake.results else CheckResult(True, "fine")
        if isinstance(result, Exception):
            raise result
        return result

    async def farewell(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def close(self) -> None:
        self._fake.open -= 1


@pytest.fixture
def fake() -> Fake:
    return Fake()


def named(name: str, **settings: Any) -> BackendConfig:
    return BackendConfig(name=name, address="127.0.0.1:1", **settings)


# -- what is told -------------------------------------------------------------------------------


@on_uvloop
async def test_a_backend_goes_down_and_comes_up(net: Net) -> None:
    heard, port = Heard(), net.refusing()
    async with probing(heard, web=pool(quick(), config("b1", port))):
        await eventually(lambda: len(heard.changes) == 1)
        assert heard.passes == []
        port.listen()
        await eventually(lambda: len(heard.changes) == 2)
    (pool_down, down), (pool_up, up) = heard.changes
    assert (pool_down, pool_up) == ("web", "web")
    assert str(down).startswith("backend b1 is down: 3 checks in a row failed in ")
    assert str(down).endswith("the last one: refused")
    assert str(up) == "backend b1 is up: 2 checks in a row passed"
    assert heard.passes[1] == ("web", "b1", up.at)
    assert heard.passes[0][2] < up.at


@on_uvloop
async def test_every_pass_is_told(net: Net) -> None:
    heard, server = Heard(), net.server().serve(silent)
    async with probing(heard, web=pool(quick(), config("b1", server))):
        await eventually(lambda: len(heard.passes) >= 5)
    assert heard.changes == []


@on_uvloop
async def test_each_check_is_a_connection_that_ends_with_a_fin(net: Net) -> None:
    heard, server = Heard(), net.server()
    async with probing(heard, web=pool(quick(), config("b1", server))):
        for _ in range(3):
            peer = await server.accept()
            assert await peer.ending() == "fin"
            peer.close()


@on_uvloop
async def test_a_failed_check_is_a_line_at_debug(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tcplb.checks")
    heard = Heard()
    async with probing(heard, web=pool(quick(), config("b1", net.refusing()))):
        await eventually(lambda: bool(heard.changes))
    lines = [record for record in caplog.records if record.name == "tcplb.checks"]
    assert lines[0].getMessage() == "the check of web/b1 failed: refused"
    assert {record.levelno for record in lines} == {logging.DEBUG}


# -- who is checked -----------------------------------------------------------------------------


@on_uvloop
async def test_all_are_checked_but_the_disabled_and_pools_without_checks(net: Net) -> None:
    heard, server = Heard(), net.server().serve(silent)
    one = [
        config("plain", server),
        config("weightless", server, weight=0),
        config("draining", server, state="draining"),
        config("off", server, state="disabled"),
    ]
    two = config("unchecked", server)
    async with probing(heard, one=pool(quick(), *one), two=pool(None, two)) as prober:
        wanted = {"plain", "weightless", "draining"}
        await eventually(lambda: {name for _, name, _ in heard.passes} >= wanted)
        rounds = heard.passes_of("plain") + 3
        await eventually(lambda: heard.passes_of("plain") >= rounds)
        assert {name for _, name, _ in heard.passes} == wanted
        prober.resume("one", "off")
        await eventually(lambda: heard.passes_of("off") > 0)
        prober.pause("two", "unchecked")
        prober.resume("two", "unchecked")
        assert heard.passes_of("unchecked") == 0


@pytest.mark.parametrize("of_backend", [False, True])
@on_uvloop
async def test_the_port_of_a_check(net: Net, of_backend: bool) -> None:
    heard, server, other = Heard(), net.server().serve(silent), net.refusing()
    check = quick(port=other.port if of_backend else server.port)
    backend = config("b1", other, check_port=server.port if of_backend else 0)
    async with probing(heard, web=pool(check, backend)):
        await eventually(lambda: len(heard.passes) >= 2)
    assert heard.changes == []


# -- pause, resume, close -----------------------------------------------------------------------


@on_uvloop
async def test_a_paused_backend_is_not_checked_and_keeps_its_state(net: Net) -> None:
    heard, port, other = Heard(), net.refusing(), net.server().serve(silent)
    web = pool(quick(), config("b1", port), config("b2", other))
    async with probing(heard, web=web) as prober:
        await eventually(lambda: bool(heard.changes))
        prober.pause("web", "b1")
        prober.pause("web", "b1")
        port.listen()
        rounds = heard.passes_of("b2") + 5
        await eventually(lambda: heard.passes_of("b2") >= rounds)
        assert heard.passes_of("b1") == 0
        prober.resume("web", "b1")
        prober.resume("web", "b1")
        await eventually(lambda: heard.states() == [Checked.DOWN, Checked.UP])


@on_uvloop
async def test_what_is_under_way_when_paused_is_given_up(net: Net) -> None:
    heard, server = Heard(), net.server()
    async with probing(heard, web=pool(quick(type="send-expect"), config("b1", server))) as prober:
        peer = await server.accept()
        prober.pause("web", "b1")
        await peer.ending()
    assert heard.passes == []
    assert heard.changes == []


@on_uvloop
async def test_close_gives_up_what_is_under_way(net: Net) -> None:
    """(`on_uvloop` counts tasks and descriptors.)"""
    heard, server = Heard(), net.server()
    backends = [config(f"b{number}", server) for number in range(5)]
    async with probing(heard, web=pool(quick(type="send-expect"), *backends)):
        await server.accept()
    assert heard.passes == []


async def test_never_started() -> None:
    heard = Heard()
    prober = Prober({"web": pool(quick(), named("b1"))}, heard.changed, heard.passed, rng=Random(1))
    prober.pause("web", "b1")
    prober.resume("web", "b1")
    await prober.close()
    assert len(asyncio.all_tasks()) == 1


# -- when ---------------------------------------------------------------------------------------


async def test_no_more_than_a_hundred_are_under_way_and_none_overlaps_itself(fake: Fake) -> None:
    heard = Heard()
    backends = [named(f"b{number}") for number in range(MAX_UNDER_WAY + 50)]
    async with probing(heard, prepare=fake, web=pool(quick(), *backends)):
        await eventually(lambda: fake.open == len(backends))
        assert fake.under_way == MAX_UNDER_WAY
        assert len(set(fake.begun)) == len(fake.begun) == MAX_UNDER_WAY
        fake.go_on.set()
        await eventually(lambda: len({name for _, name, _ in heard.passes}) == len(backends))
    assert fake.most == MAX_UNDER_WAY
    assert fake.open == 0


async def test_waiting_for_its_turn_is_not_part_of_a_check(fake: Fake) -> None:
    """What is told is when the check itself began."""
    heard, now = Heard(), [100.0]
    backends = [named(f"b{number}") for number in range(MAX_UNDER_WAY + 1)]
    web = pool(quick(), *backends)
    async with probing(heard, prepare=fake, web=web, clock=lambda: now[0]):
        await eventually(lambda: fake.open == len(backends))
        now[0] = 200.0
        fake.go_on.set()
        await eventually(lambda: len(heard.passes) >= len(backends))
    began = [moment for _, _, moment in heard.passes[: len(backends)]]
    assert began[:MAX_UNDER_WAY] == [100.0] * MAX_UNDER_WAY
    assert began[MAX_UNDER_WAY] == 200.0


async def test_the_fast_interval_holds_while_it_is_changing(fake: Fake) -> None:
    """With an interval of an hour, only the first failure's two followers come soon."""
    heard = Heard()
    fake.go_on.set()
    fake.results = [CheckResult(False, "refused")] * 3
    check = quick(interval=3600.0)
    async with probing(
        heard, prepare=fake, web=pool(check, named("b1", state="disabled"))
    ) as prober:
        prober.resume("web", "b1")  # the first check comes within a fast interval
        await eventually(lambda: heard.states() == [Checked.DOWN])
        await eventually(lambda: fake.open == 0)
    assert len(fake.begun) == 3


# -- what goes wrong with us --------------------------------------------------------------------


async def test_what_we_lack_is_no_verdict_and_said_once_a_minute(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    heard, now = Heard(), [100.0]
    fake.go_on.set()
    fake.results = [OSError(errno.EMFILE, "Too many open files")] * 10
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1")), clock=lambda: now[0]):
        await eventually(lambda: len(fake.begun) >= 5)
        assert len(caplog.records) == 1
        now[0] += 60.0
        await eventually(lambda: bool(heard.passes))
    assert heard.changes == []
    assert {record.getMessage() for record in caplog.records} == {
        "web/b1 cannot be checked, for want of our own: Too many open files"
    }
    assert len(caplog.records) == 2


async def test_an_exception_in_a_check_stops_no_check(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    fake.go_on.set()
    fake.results = [RuntimeError("a mistake of ours")]
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"), named("b2"))):
        await eventually(lambda: min(heard.passes_of("b1"), heard.passes_of("b2")) >= 2)
    (record,) = caplog.records
    assert "could not be done" in record.getMessage()
    assert record.exc_info is not None
    assert fake.open == 0


# -- other pools --------------------------------------------------------------------------------

FAILS = CheckResult(False, "refused")


async def down(fake: Fake, heard: Heard) -> None:
    """Let the first three checks fail, and hold up those that follow."""
    fake.results = [FAILS] * 3
    fake.go_on.set()
    await eventually(lambda: heard.states() == [Checked.DOWN])
    fake.go_on.clear()


async def test_what_is_new_is_checked_and_what_is_gone_is_not(fake: Fake) -> None:
    heard = Heard()
    fake.go_on.set()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"), named("b2"))) as prober:
        await eventually(lambda: {"b1", "b2"} <= set(fake.begun))
        prober.update({"web": pool(quick(), named("b2")), "api": pool(quick(), named("b3"))})
        fake.begun.clear()
        await eventually(lambda: fake.begun.count("b3") >= 2 and fake.begun.count("b2") >= 2)
        assert "b1" not in fake.begun
    assert {name for name, _, _ in heard.passes} == {"web", "api"}
    assert heard.changes == []


async def test_a_check_that_stays_the_same_is_not_disturbed(fake: Fake) -> None:
    heard = Heard()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"))) as prober:
        await eventually(lambda: fake.under_way == 1)
        prober.update({"web": pool(quick(), named("b1", weight=7), named("b2"))})
        await eventually(lambda: fake.under_way == 2)
        assert fake.begun == ["b1", "b2"]


async def test_one_under_way_of_what_is_gone_is_given_up(fake: Fake) -> None:
    heard = Heard()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"))) as prober:
        await eventually(lambda: fake.under_way == 1)
        prober.update({})
        await eventually(lambda: fake.open == 0)
    assert heard.passes == []


async def test_what_was_found_goes_on_by_other_numbers(fake: Fake) -> None:
    heard = Heard()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"))) as prober:
        await down(fake, heard)
        prober.update({"web": pool(quick(rise=1), named("b1"))})
        fake.results = [CheckResult(True, "fine"), *[FAILS] * 1000]  # by rise = 2 it stays down
        fake.go_on.set()
        await eventually(lambda: heard.states()[:2] == [Checked.DOWN, Checked.UP])


@pytest.mark.parametrize("port", [0, 7])
async def test_what_was_found_of_another_address_is_forgotten(fake: Fake, port: int) -> None:
    """Even if the same port is checked for both."""
    heard = Heard()

    def at(address: str) -> PoolConfig:
        return pool(quick(), BackendConfig(name="b1", address=address, check_port=port))

    async with probing(heard, prepare=fake, web=at("127.0.0.1:1")) as prober:
        await down(fake, heard)
        prober.update({"web": at("127.0.0.1:2")})
        fake.results = [FAILS] * 3
        fake.go_on.set()
        await eventually(lambda: heard.states() == [Checked.DOWN, Checked.DOWN])


async def test_what_is_not_checked_any_more_is_up(fake: Fake) -> None:
    heard = Heard()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"))) as prober:
        await down(fake, heard)
        prober.update({"web": pool(None, named("b1"))})
        assert heard.states() == [Checked.DOWN, Checked.UP]
        pool_name, news = heard.changes[-1]
        assert (pool_name, news.backend) == ("web", "b1")
        assert "it is not checked any more" in str(news)
        prober.update({"web": pool(quick(), named("b1"))})  # and this is a new beginning
        fake.results = [FAILS] * 3
        fake.go_on.set()
        await eventually(lambda: heard.states() == [Checked.DOWN, Checked.UP, Checked.DOWN])


@pytest.mark.parametrize("left", [{}, {"web": pool(None, named("b2"))}], ids=["pool", "backend"])
async def test_of_what_is_gone_nothing_is_said(fake: Fake, left: dict[str, PoolConfig]) -> None:
    heard = Heard()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"))) as prober:
        await down(fake, heard)
        prober.update(left)
        assert heard.states() == [Checked.DOWN]


async def test_a_backend_is_disabled_and_enabled_by_other_settings(fake: Fake) -> None:
    heard = Heard()
    fake.go_on.set()
    async with probing(heard, prepare=fake, web=pool(quick(), named("b1"), named("b2"))) as prober:
        await eventually(lambda: "b1" in fake.begun)
        prober.update({"web": pool(quick(), named("b1", state="disabled"), named("b2"))})
        fake.begun.clear()
        await eventually(lambda: fake.begun.count("b2") >= 3)
        assert "b1" not in fake.begun
        prober.update({"web": pool(quick(), named("b1", state="draining"), named("b2"))})
        await eventually(lambda: "b1" in fake.begun)


async def test_settings_that_come_before_the_start(fake: Fake) -> None:
    heard = Heard()
    prepare: Any = fake
    prober = Prober({}, heard.changed, heard.passed, rng=Random(1), prepare=prepare)
    prober.update({"web": pool(quick(), named("b1"))})
    await asyncio.sleep(0)
    assert fake.begun == []
    prober.start()
    await eventually(lambda: fake.begun == ["b1"])
    await prober.close()
