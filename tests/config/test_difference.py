from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.difference import Change, Difference, Effect, difference
from tcplb.config.keypath import format_path
from tcplb.config.models import BackendConfig, Config
from tests.config.backend_texts import Table, backend_tables, pools_of_tables

BASE: dict[str, Any] = {
    "listeners": [{"name": "web", "pool": "web"}, {"name": "db", "bind": ":1", "pool": "db"}],
    "pools": {
        "web": {
            "backends": [
                {"name": "b1", "address": "127.0.0.1:8081"},
                {"name": "b2", "address": "127.0.0.1:8082", "weight": 2},
            ]
        },
        "db": {"check": {"fall": 5}, "backends": [{"address": "h:1"}]},
    },
}


def config_of(table: dict[str, Any]) -> Config:
    return Config.model_validate(table)


def with_value(path: tuple[str | int, ...], value: object) -> Config:
    """BASE with one value set, or a table entry dropped if it is None."""
    table = config_of(BASE).model_dump(mode="json", exclude_none=True)
    inner: Any = table
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    elif isinstance(inner, list) and path[-1] == len(inner):
        inner.append(value)
    else:
        inner[path[-1]] = value
    return config_of(table)


def lines(found: Difference) -> list[str]:
    return [str(change) for change in found]


B = ("pools", "web", "backends")


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("workers",), 3, "~ workers: 1 → 3"),
        (("limits", "max_connections"), 5, "~ limits.max_connections: auto → 5"),
        (("limits", "drain_timeout"), "1m", "~ limits.drain_timeout: 30s → 1m"),
        (("log", "level"), "debug", "~ log.level: info → debug"),
        (("watch",), True, "~ watch: false → true"),
        (
            ("admin", "bind"),
            "none",
            "~ admin.bind: 127.0.0.1:9091 → none "
            "(needs a restart: the admin API is set up at the start)",
        ),
        (
            ("log", "format"),
            "json",
            "~ log.format: text → json (needs a restart: the form of log lines is chosen at the "
            "start)",
        ),
        (
            ("log", "access"),
            "a b\x1b",
            '~ log.access: - → "a b\\x1b" (needs a restart: workers open the access log at their '
            "start)",
        ),
        (("listeners", 0, "idle_timeout"), "5s", "~ listeners.web.idle_timeout: 1h → 5s"),
        (("listeners", 1, "bind"), ":2", "~ listeners.db.bind: :1 → :2"),
        (("listeners", 0, "per_client", "burst"), 5, "~ listeners.web.per_client.burst: 0 → 5"),
        (
            ("listeners", 0, "access"),
            ["allow 10.0.0.0/8", "deny all"],
            '~ listeners.web.access: [] → ["allow 10.0.0.0/8", "deny all"]',
        ),
        (
            ("listeners", 2),
            {"name": "x", "bind": ":3", "pool": "db", "idle_timeout": "1s"},
            "+ listeners.x: :3, pool db, idle_timeout 1s",
        ),
        (("listeners", 1), None, "- listeners.db"),
        (("pools", "web", "strategy"), "hash", "~ pools.web.strategy: round-robin → hash"),
        (
            ("pools", "web", "eject", "first_byte"),
            True,
            "~ pools.web.eject.first_byte: false → true",
        ),
        (("pools", "web", "check"), {"fall": 9}, "+ pools.web.check: fall 9"),
        (("pools", "web", "check"), {}, "+ pools.web.check: all defaults"),
        (("pools", "db", "check"), None, "- pools.db.check"),
        (("pools", "db", "check", "fall"), 6, "~ pools.db.check.fall: 5 → 6"),
        (("pools", "db", "check", "host"), "x", '~ pools.db.check.host: "" → x'),
        (
            ("pools", "new"),
            {
                "eject": {"failures": 5},
                "backends": [{"address": "h:1"}, {"name": "a", "address": "h:2"}],
            },
            "+ pools.new: eject (failures 5), backends [h:1, a]",
        ),
        ((*B, 1, "weight"), 9, "~ pools.web.backends.b2.weight: 2 → 9"),
        ((*B, 1, "address"), "h:9", "~ pools.web.backends.b2.address: 127.0.0.1:8082 → h:9"),
        (
            (*B, 2),
            {"name": "b5", "address": "127.0.0.1:8085", "weight": 2},
            "+ pools.web.backends.b5: 127.0.0.1:8085, weight 2",
        ),
        ((*B, 2), {"address": "h:1"}, '+ pools.web.backends."h:1": h:1'),
        ((*B, 1), None, "- pools.web.backends.b2"),
    ],
)
def test_one_change(path: tuple[str | int, ...], value: object, line: str) -> None:
    assert lines(difference(config_of(BASE), with_value(path, value))) == [line]


def test_a_secret_is_not_shown() -> None:
    before, after = (config_of({"admin": {"token": letter * 16}}) for letter in "ab")
    (change,) = difference(before, after)
    assert str(change) == (
        "~ admin.token: ******** → ******** (needs a restart: the admin API is set up at the start)"
    )
    (change,) = difference(Config(), after)
    assert (change.path, change.before, change.after) == ("admin.token", None, "********")
    assert not difference(after, config_of({"admin": {"token": "b" * 16}}))


def test_a_change_as_data() -> None:
    before = config_of(BASE)
    (change,) = difference(before, with_value((*B, 1, "weight"), 9))
    assert change == Change("pools.web.backends.b2.weight", 2, 9)
    assert (change.kind, change.effect) == ("changed", Effect.LIVE)
    (change,) = difference(before, with_value((*B, 1), None))
    assert change.before == {"address": "127.0.0.1:8082", "weight": 2}
    assert (change.after, change.kind) == (None, "removed")
    (change,) = difference(before, with_value(("pools", "web", "check"), {}))
    assert (change.before, change.after, change.kind) == (None, {}, "added")


def test_what_needs_a_restart() -> None:
    after = with_value(("log", "access"), "none").model_copy(update={"workers": 7})
    found = difference(config_of(BASE), after)
    assert len(found.changes) == 2
    assert [change.path for change in found.needs_restart] == ["log.access"]
    assert found.needs_restart[0].effect is Effect.RESTART


def backends_of(order: str, strategy: str = "round-robin") -> Config:
    backends = [{"name": name, "address": f"{name}:1"} for name in order]
    return config_of(
        {
            "pools": {"web": {"strategy": strategy, "backends": backends}},
            "listeners": [{"pool": "web"}],
        }
    )


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("abc", "bac", "~ pools.web.backends: order [a, b, c] → [b, a, c]"),
        ("abc", "ac", "- pools.web.backends.b"),
        ("ab", "xab", "+ pools.web.backends.x: x:1"),
    ],
)
def test_order(before: str, after: str, line: str) -> None:
    assert lines(difference(backends_of(before), backends_of(after))) == [line]


@pytest.mark.parametrize(
    ("strategy", "matters"),
    [
        ("round-robin", True),
        ("first", True),
        ("least-connections", True),
        ("my.module:function", True),
        ("hash", False),
        ("maglev", False),
        ("rendezvous", False),
        ("random", False),
        ("power-of-two", False),
        ("peak-ewma", False),
    ],
)
def test_for_whom_order_matters(strategy: str, matters: bool) -> None:
    found = difference(backends_of("ab", strategy), backends_of("ba", strategy))
    assert bool(found) is matters


def test_order_matters_if_it_does_before_or_after() -> None:
    for strategies in [("hash", "first"), ("first", "hash")]:
        before, after = strategies
        found = difference(backends_of("ab", before), backends_of("ba", after))
        assert [change.path for change in found] == ["pools.web.strategy", "pools.web.backends"]


def test_a_moved_backend_beside_others_that_come_and_go() -> None:
    found = difference(backends_of("abc"), backends_of("cxa"))
    assert lines(found) == [
        "- pools.web.backends.b",
        "+ pools.web.backends.x: x:1",
        "~ pools.web.backends: order [a, b, c] → [c, x, a]",
    ]


def test_a_long_value_is_cut() -> None:
    many = [{"name": f"n{number}", "address": "h:1"} for number in range(99)]
    (line,) = lines(difference(config_of(BASE), with_value(("pools", "new"), {"backends": many})))
    assert len(line) == len("+ pools.new: ") + 120 + len("...")


def test_the_order_of_listeners_and_pools_is_nothing() -> None:
    after = {
        "listeners": BASE["listeners"][::-1],
        "pools": dict(reversed(BASE["pools"].items())),
    }
    assert not difference(config_of(BASE), config_of(after))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    pools: dict[str, dict[str, Any]] = {
        name: {"backends": backends, "strategy": draw(st.sampled_from(["first", "hash"]))}
        for name, backends in draw(pools_of_tables()).items()
    }
    for pool in pools.values():
        if draw(st.booleans()):
            pool["check"] = {"rise": draw(st.integers(1, 3))}
    listeners = [{"name": "l", "pool": next(iter(pools)), "idle_timeout": draw(st.integers(1, 3))}]
    return config_of({"pools": pools, "listeners": listeners})


@given(configs())
def test_no_difference_to_itself(config: Config) -> None:
    again = Config.model_validate(config.model_dump(mode="json"))
    assert not difference(config, again)


@given(configs(), configs())
def test_backwards_it_is_the_mirror_image(before: Config, after: Config) -> None:
    there = {(change.path, change.kind): change for change in difference(before, after)}
    back = {(change.path, change.kind): change for change in difference(after, before)}
    mirrored = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(path, mirrored[kind]) for path, kind in there} == set(back)
    for (path, kind), change in there.items():
        other = back[path, mirrored[kind]]  # type: ignore[index]  # a str for a Literal
        assert (change.before, change.after) == (other.after, other.before)
        assert change.effect == other.effect
        assert str(change).isprintable()


@given(configs(), st.data())
def test_one_edit_is_one_change(config: Config, data: st.DataObject) -> None:
    pool = data.draw(st.sampled_from(sorted(config.pools)))
    backends = list(config.pools[pool].backends)
    index = data.draw(st.integers(0, len(backends) - 1))
    old = backends[index]
    new = BackendConfig.model_validate(data.draw(backend_tables(old.name)))
    edits: list[tuple[str, Table]] = [
        (key, {key: getattr(new, key)})
        for key in BackendConfig.model_fields
        if getattr(new, key) != getattr(old, key)
    ]
    for key, update in edits:
        edited = [*backends[:index], old.model_copy(update=update), *backends[index + 1 :]]
        (change,) = difference(config, with_backends(config, pool, edited))
        assert change.path == format_path(("pools", pool, "backends", old.name, key))
        assert (change.before, change.after) == (getattr(old, key), getattr(new, key))
    if len(backends) > 1:
        fewer = backends[:index] + backends[index + 1 :]
        (change,) = difference(config, with_backends(config, pool, fewer))
        assert change.kind == "removed"
        (change,) = difference(with_backends(config, pool, fewer), config)
        assert change.kind == "added"
        assert change.after["address"] == old.address


def with_backends(config: Config, pool: str, backends: list[BackendConfig]) -> Config:
    changed = config.pools[pool].model_copy(update={"backends": tuple(backends)})
    return config.model_copy(update={"pools": {**config.pools, pool: changed}})
