from __future__ import annotations

import pytest
from pydantic import ValidationError

from tcplb.config.models import (
    BackendConfig,
    Config,
    EjectConfig,
    LimitsConfig,
    ListenerConfig,
    LogConfig,
    PoolConfig,
)
from tcplb.policy.names import HashKey, StrategyName


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
    }
    assert ListenerConfig().idle_timeout == 3600.0


def test_the_defaults_of_a_pool() -> None:
    pool = PoolConfig(backends=(BackendConfig(address="a:1"),))
    assert pool.strategy is StrategyName.ROUND_ROBIN
    assert pool.hash_key is HashKey.AUTO
    assert pool.eject == EjectConfig()
    eject = pool.eject
    assert (eject.failures, eject.base_time, eject.step, eject.max_time) == (3, 5.0, 5.0, 60.0)
    assert eject.jitter == 0.1
    assert (pool.backends[0].weight, pool.backends[0].max_connections) == (1, 0)


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


def test_the_written_form_is_read_back() -> None:
    config = Config()
    assert Config.model_validate(config.model_dump(mode="json")) == config
