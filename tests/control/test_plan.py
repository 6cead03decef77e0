from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tcplb.config.models import BackendConfig, Config, ListenerConfig, LogConfig, PoolConfig
from tcplb.control.numbering import Numbering
from tcplb.control.plan import (
    Limits,
    Plan,
    assign_numbers,
    make_plan,
    new_numbering,
    read_plan,
    roomy_layout,
    write_plan,
)
from tcplb.control.scoreboard import Layout
from tcplb.errors import ChangeError
from tcplb.policy.names import StrategyName
from tcplb.policy.transition import Mode
from tests.processes import WAIT

POOLS = {
    "web": PoolConfig(
        backends=tuple(BackendConfig(address=f"10.0.0.{n}:80", max_connections=n) for n in (1, 2))
    ),
    "database": PoolConfig(
        strategy=StrategyName.HASH, backends=(BackendConfig(address="10.0.1.1:5432"),)
    ),
    "mail": PoolConfig(backends=(BackendConfig(address="10.0.2.1:25"),)),
}
CONFIG = Config(
    listeners=(
        ListenerConfig(name="b", bind=":5432", pool="database"),
        ListenerConfig(name="a", bind=":80", pool="web", idle_timeout=7.0),
    ),
    pools=POOLS,
    log=LogConfig(access="/tmp/access", format="json", level="debug"),  # noqa: S108
)


def plan_of(config: Config, numbering: Numbering | None = None, *, each: int = 7) -> Plan:
    layout = roomy_layout(config)
    numbering = numbering or new_numbering(layout)
    assign_numbers(config, numbering)
    return make_plan(
        config,
        Limits(each=each, total=None),
        slots=12,
        layout=layout,
        numbering=numbering,
        addresses={listener.name: (1, 2) for listener in config.listeners},
        generation=3,
    )


def with_pool(config: Config, name: str, **settings: object) -> Config:
    """Return `config` with another pool under that name."""
    pool = config.pools[name].model_copy(update=settings)
    return config.model_copy(update={"pools": {**config.pools, name: pool}})


def numbers_of(plan: Plan) -> list[list[int]]:
    """All numbers that a plan gives away, by kind."""
    return [
        [position for pool in plan.pools for position in pool.positions],
        [pool.number for pool in plan.pools],
        [listener.number for listener in plan.listeners],
        [listener.rate_number for listener in plan.listeners],
        [route for each in plan.listeners for route in (each.unrouted, *each.routes)],
    ]


def test_a_plan_survives_the_way_to_another_process() -> None:
    plan = plan_of(CONFIG)
    descriptor = write_plan(plan)
    assert read_plan(descriptor) == plan
    assert read_plan(descriptor) == plan  # a replacement reads it again
    os.close(descriptor)


def test_it_says_what_the_settings_say() -> None:
    plan = plan_of(CONFIG)
    assert [(each.name, each.pool) for each in plan.listeners] == [("b", "database"), ("a", "web")]
    assert plan.listeners[1].timeouts.idle == 7.0
    assert plan.listeners[1].addresses == (1, 2)
    assert [backend.max_connections for backend in plan.pools[0].backends] == [1, 2]
    assert (plan.log.access, plan.log.format, plan.log.level) == ("/tmp/access", "json", "debug")  # noqa: S108
    assert plan.drain_timeout == CONFIG.limits.drain_timeout
    assert (plan.limits, plan.slots, plan.generation) == (Limits(7, None), 12, 3)


def test_it_says_what_the_operator_wants_of_a_backend() -> None:
    first, second = CONFIG.pools["web"].backends
    drained = (first, second.model_copy(update={"state": "draining"}))
    plan = plan_of(with_pool(CONFIG, "web", backends=drained))
    assert plan.pools[0].modes == (Mode.ENABLED, Mode.DRAINING)


# -- numbers ------------------------------------------------------------------------------------


def test_each_thing_has_a_place_of_its_own_on_the_scoreboard() -> None:
    plan = plan_of(CONFIG)
    for numbers, count in zip(numbers_of(plan), (4, 3, 2, 2, 2 + 3), strict=True):
        assert sorted(numbers) == list(range(count))


def test_what_stays_keeps_its_numbers_whatever_is_said_of_it() -> None:
    layout = roomy_layout(CONFIG)
    numbering = new_numbering(layout)
    before = plan_of(CONFIG, numbering)
    first, second = CONFIG.pools["web"].backends
    heavier = (second.model_copy(update={"weight": 9, "max_connections": 0}), first)
    after = plan_of(with_pool(CONFIG, "web", backends=heavier), numbering)
    assert after.pools[0].positions == before.pools[0].positions[::-1]
    assert after.pools[1:] == before.pools[1:]
    assert after.listeners[1].routes == before.listeners[1].routes[::-1]
    assert [sorted(numbers) for numbers in numbers_of(after)] == [
        sorted(numbers) for numbers in numbers_of(before)
    ]


def test_one_more_gets_a_new_number_and_one_that_is_gone_keeps_its_own_for_now() -> None:
    numbering = new_numbering(roomy_layout(CONFIG))
    before = plan_of(CONFIG, numbering)
    first, _ = CONFIG.pools["web"].backends
    another = BackendConfig(address="10.0.0.3:80")
    after = plan_of(with_pool(CONFIG, "web", backends=(another, first)), numbering)
    assert after.pools[0].positions == (4, before.pools[0].positions[0])
    assert numbering.backends.leaving == {("web", "10.0.0.2:80"): before.pools[0].positions[1]}
    assert numbering.routes.leaving == {("a", "web", "10.0.0.2:80"): before.listeners[1].routes[1]}


def test_a_listener_that_is_moved_has_other_routes() -> None:
    numbering = new_numbering(roomy_layout(CONFIG))
    before = plan_of(CONFIG, numbering).listeners[1]
    listeners = (CONFIG.listeners[0], CONFIG.listeners[1].model_copy(update={"pool": "mail"}))
    after = plan_of(CONFIG.model_copy(update={"listeners": listeners}), numbering).listeners[1]
    assert (after.number, after.rate_number) == (before.number, before.rate_number)
    assert not {after.unrouted, *after.routes} & {before.unrouted, *before.routes}


@pytest.mark.parametrize("change", [{"max_new_per_second": 9}, {"burst": 3}])
def test_another_rate_has_cells_of_its_own(change: dict[str, int]) -> None:
    one = CONFIG.listeners[0].model_copy(update={"max_new_per_second": 8, "burst": 2})
    config = CONFIG.model_copy(update={"listeners": (one, CONFIG.listeners[1])})
    numbering = new_numbering(roomy_layout(config))
    before = plan_of(config, numbering).listeners
    listeners = (one.model_copy(update=change), CONFIG.listeners[1])
    after = plan_of(config.model_copy(update={"listeners": listeners}), numbering).listeners
    assert before[0].rate_number != after[0].rate_number
    assert before[1].rate_number == after[1].rate_number
    assert [each.number for each in before] == [each.number for each in after]


def test_there_is_room_for_far_more() -> None:
    layout = roomy_layout(CONFIG)
    assert layout.backends >= 2 * 4 + 1000
    assert layout.routes >= 2 * 5 + 1000
    assert min(layout.capacities) >= 200


def test_what_there_is_no_room_for_is_told() -> None:
    numbering = new_numbering(Layout(backends=3, pools=9, listeners=9, rates=9, routes=99))
    with pytest.raises(ChangeError, match="there is room for 3 backends, those that are being"):
        assign_numbers(CONFIG, numbering)


# -- a worker -----------------------------------------------------------------------------------


def test_a_worker_does_not_import_what_only_the_supervisor_needs() -> None:
    """It would start three times as slowly."""
    heavy = "{'pydantic', 'click', 'tcplb.config', 'tcplb.cli'} & set(sys.modules)"
    script = f"import sys, tcplb.control.worker; print({heavy} or 'none')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT, check=True
    )
    assert done.stdout == "none\n"
