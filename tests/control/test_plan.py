from __future__ import annotations

import os
import subprocess
import sys

from tcplb.config.models import BackendConfig, Config, ListenerConfig, LogConfig, PoolConfig
from tcplb.control.plan import Limits, make_plan, read_plan, write_plan
from tcplb.policy.names import StrategyName
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


def test_a_plan_survives_the_way_to_another_process() -> None:
    plan = make_plan(CONFIG, Limits(each=7, total=9), slots=12)
    descriptor = write_plan(plan)
    assert read_plan(descriptor) == plan
    assert read_plan(descriptor) == plan  # a replacement reads it again
    os.close(descriptor)


def test_it_says_what_the_settings_say() -> None:
    plan = make_plan(CONFIG, Limits(each=7, total=None), slots=12)
    assert [(each.name, each.pool) for each in plan.listeners] == [("b", "database"), ("a", "web")]
    assert plan.listeners[1].timeouts.idle == 7.0
    assert [backend.max_connections for backend in plan.pools[0].backends] == [1, 2]
    assert (plan.log.access, plan.log.format, plan.log.level) == ("/tmp/access", "json", "debug")  # noqa: S108
    assert plan.drain_timeout == CONFIG.limits.drain_timeout


def test_each_backend_has_a_place_of_its_own_on_the_scoreboard() -> None:
    plan = make_plan(CONFIG, Limits(each=7, total=None), slots=12)
    assert plan.backends == 4
    assert [plan.first_position(pool) for pool in plan.pools] == [0, 2, 3]


def test_a_worker_does_not_import_what_only_the_supervisor_needs() -> None:
    """It would start three times as slowly."""
    heavy = "{'pydantic', 'click', 'tcplb.config', 'tcplb.cli'} & set(sys.modules)"
    script = f"import sys, tcplb.control.worker; print({heavy} or 'none')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT, check=True
    )
    assert done.stdout == "none\n"
