from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tcplb.config.models import (
    BackendConfig,
    CheckConfig,
    Config,
    EjectConfig,
    LimitsConfig,
    ListenerConfig,
    LogConfig,
    PoolConfig,
    QueueConfig,
    RetryConfig,
)
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import StrategyName
from tcplb.policy.queue import QueuePolicy
from tcplb.policy.retry import RetryPolicy


def test_the_defaults() -> None:
    config = Config()
    assert config.workers == 1
    assert config.listeners == (ListenerConfig(),)
    assert list(config.pools) == ["default"]
    assert [backend.name for backend in config.pools["default"].backends] == [
        "127.0.0.1:8081",
        "127.0.0.1:8082",
        "127.0.0.1:8083",
        "127.0.0.1:8084",
    ]
    assert config.limits == LimitsConfig(max_connections="auto", drain_timeout=30.0)
    assert config.log == LogConfig(access="-", format="text", level="info")


def test_the_defaults_of_a_listener() -> None:
    assert ListenerConfig().model_dump() == {
        "name": "default",
        "bind": "127.0.0.1:9090",
        "pool": "default",
        "engine": "auto",
        "connect_timeout": "3s",
        "connect_deadline": "15s",
        "first_line_timeout": "5s",
        "idle_timeout": "1h",
        "half_close_timeout": "30s",
        "max_connections": 0,
        "max_new_per_second": 0,
        "burst": 0,
        "per_client": {
            "max_new_per_second": 0,
            "burst": 0,
            "prefix": 32,
            "prefix_v6": 64,
            "table_size": 100_000,
        },
        "access": (),
    }
    assert ListenerConfig().idle_timeout == 3600.0


def test_the_defaults_of_a_pool() -> None:
    pool = PoolConfig(backends=(BackendConfig(address="a:1"),))
    assert pool.model_dump() == {
        "strategy": "round-robin",
        "hash_key": "auto",
        "hash_balance_factor": 0,
        "maglev_table_size": 65537,
        "ewma_decay": "10s",
        "slow_start": "0s",
        "panic_threshold": 0,
        "eject": EjectConfig().model_dump(),
        "check": None,
        "retry": RetryConfig().model_dump(),
        "queue": QueueConfig().model_dump(),
        "backends": (
            {
                "address": "a:1",
                "name": "a:1",
                "weight": 1,
                "max_connections": 0,
                "tier": 0,
                "backup": False,
                "state": "enabled",
                "check_port": 0,
            },
        ),
    }


def test_the_defaults_are_those_of_the_policies() -> None:
    assert EjectPolicy(**dict(EjectConfig())) == EjectPolicy()
    assert RetryPolicy(**dict(RetryConfig())) == RetryPolicy()
    assert QueuePolicy(**dict(QueueConfig())) == QueuePolicy()


def test_the_defaults_of_a_check() -> None:
    assert CheckConfig().model_dump() == {
        "type": "tcp",
        "interval": "2s",
        "fast_interval": "500ms",
        "timeout": "2s",
        "fall": 3,
        "rise": 2,
        "port": 0,
        "method": "GET",
        "path": "/",
        "host": "",
        "status": "200-399",
        "body": "",
        "send": "",
        "expect": "",
    }


@pytest.mark.parametrize("strategy", list(StrategyName))
def test_code_may_name_a_strategy_by_its_enumeration(strategy: StrategyName) -> None:
    pool = PoolConfig(strategy=strategy, backends=(BackendConfig(address="a:1"),))
    assert pool.strategy == strategy
    assert type(pool.strategy) is str


@pytest.mark.parametrize(
    ("given", "priority"),
    [({}, 0), ({"tier": 3}, 3), ({"backup": True}, 1), ({"backup": True, "tier": 1}, 1)],
)
def test_a_backup_is_of_tier_1(given: dict[str, Any], priority: int) -> None:
    assert BackendConfig(address="a:1", **given).priority == priority


@pytest.mark.parametrize("workers", [1, 2, 256, "auto"])
def test_workers_are_a_number_or_one_a_core(workers: int | str) -> None:
    config = Config.model_validate({"workers": workers})
    assert config.workers == workers
    assert config.model_dump(mode="json")["workers"] == workers


@pytest.mark.parametrize("engine", ["auto", "streams", "splice"])
def test_engines(engine: str) -> None:
    assert ListenerConfig.model_validate({"engine": engine}).engine == engine


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().limits = LimitsConfig()


def test_a_backend_has_a_host_a_port_and_its_address_for_a_name() -> None:
    backend = BackendConfig(address="[::1]:8081")
    assert (backend.host, backend.port, backend.name) == ("::1", 8081, "[::1]:8081")
    assert BackendConfig(address="A:081").name == "a:81"
    assert BackendConfig(address="a:81", name="b1").name == "b1"


def test_a_listener_has_a_host_and_a_port() -> None:
    listener = ListenerConfig(bind="*:0")
    assert (listener.host, listener.port, listener.bind) == ("", 0, ":0")


def test_code_may_give_seconds() -> None:
    assert ListenerConfig(idle_timeout=0.25).idle_timeout == 0.25
    assert ListenerConfig(idle_timeout=2).model_dump()["idle_timeout"] == "2s"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_seconds_have_the_same_bounds(seconds: float) -> None:
    with pytest.raises(ValidationError, match="must be"):
        ListenerConfig(idle_timeout=seconds)


def test_durations_are_read_as_written() -> None:
    limits = LimitsConfig.model_validate({"drain_timeout": "0s"})
    assert limits.drain_timeout == 0.0
    assert EjectConfig.model_validate({"step": "0s"}).step == 0.0


@pytest.mark.parametrize("name", ["web-1", "a.b_c", "[::1]:80", "fe80::1%eth0", "1"])
def test_names(name: str) -> None:
    assert ListenerConfig(name=name, pool=name).name == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a=b", "a,b", "é", "a\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError, match="must be made of letters, digits and"):
        ListenerConfig(name=name)


@pytest.mark.parametrize("name", [".", ".."])
def test_what_is_a_step_in_a_path_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError, match=r'cannot be "\.\.?", which no path of the API'):
        BackendConfig(address="127.0.0.1:80", name=name)


def test_the_written_form_is_read_back() -> None:
    config = Config()
    assert Config.model_validate(config.model_dump(mode="json")) == config
