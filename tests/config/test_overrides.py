from __future__ import annotations

import pytest

from tcplb.config.models import BackendConfig, CheckConfig, ListenerConfig
from tcplb.config.overrides import BACKEND_FORM, Override, parse_backend
from tcplb.config.settings import load
from tcplb.errors import ConfigError
from tests.config.conftest import LoadText, ProblemsOf

WEB = "[pools.web]\nbackends = [{ address = 'a:1' }]\n"
DB = "[pools.db]\nbackends = [{ address = 'a:2' }]\n"


def listen(*binds: object) -> Override:
    return Override(("listeners",), list(binds), "--listen")


def backends(*values: object) -> Override:
    return Override(("backends",), list(values), "--backend")


def idle(value: object, origin: str = "--idle-timeout") -> Override:
    return Override(("listeners", "*", "idle_timeout"), value, origin)


def problems_without_a_file(*overrides: Override) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(None, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_star_is_every_listener(load_text: LoadText) -> None:
    text = "[[listeners]]\nidle_timeout = '1s'\n[[listeners]]\nbind = ':1'\n"
    config = load_text(text, [idle("5m")]).config
    assert [listener.idle_timeout for listener in config.listeners] == [300.0, 300.0]


def test_a_star_is_every_pool(load_text: LoadText) -> None:
    override = Override(("pools", "*", "strategy"), "hash", "--strategy")
    text = "[[listeners]]\npool = 'db'\n" + WEB + DB
    config = load_text(text, [override]).config
    assert [pool.strategy for pool in config.pools.values()] == ["hash", "hash"]


def test_a_setting_of_the_whole_process() -> None:
    override = Override(("limits", "max_connections"), 5, "--max-connections")
    assert load(None, [override]).config.limits.max_connections == 5


def test_a_setting_at_the_top() -> None:
    settings = load(None, [Override(("workers",), 4, "--workers")])
    assert settings.config.workers == 4
    assert settings.origin_of(("workers",)) == "--workers"


def test_a_problem_at_the_top_is_told_without_its_path() -> None:
    assert problems_without_a_file(Override(("workers",), "many", "TCPLB_WORKERS")) == [
        'TCPLB_WORKERS: must be a whole number from 1 to 256, or "auto" (got "many")'
    ]


def test_the_later_one_counts() -> None:
    settings = load(None, [idle("1s", "TCPLB_IDLE_TIMEOUT"), idle("2s")])
    assert settings.config.listeners[0].idle_timeout == 2.0
    assert settings.origin_of(("listeners", 0, "idle_timeout")) == "--idle-timeout"


def test_a_problem_of_an_override_is_told_once_by_its_name(load_text: LoadText) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text("[[listeners]]\n[[listeners]]\nbind = ':1'\n", [idle("5 parsecs")])
    assert str(caught.value) == (
        '--idle-timeout: must be a duration such as 250ms, 5s or 1h (got "5 parsecs")'
    )


def test_problems_of_the_file_come_first(problems_of: ProblemsOf) -> None:
    overrides = [
        Override(("log", "level"), "loud", "TCPLB_LOG_LEVEL"),
        Override(("limits", "max_connections"), 0, "--max-connections"),
        idle("0s"),
    ]
    assert problems_of("[log]\nformat = 'xml'\n", overrides) == [
        'tcplb.toml:2: log.format: must be one of text, json (got "xml")',
        'TCPLB_LOG_LEVEL: must be one of debug, info, warning, error (got "loud")',
        '--max-connections: must be a whole number of at least 1, or "auto" (got 0)',
        '--idle-timeout: must be longer than 0s (got "0s")',
    ]


def test_an_override_hides_a_problem_of_the_file(load_text: LoadText) -> None:
    config = load_text("[[listeners]]\nidle_timeout = 5\n", [idle("5s")]).config
    assert config.listeners[0].idle_timeout == 5.0


def test_a_table_that_is_none_is_reported_for_the_file(problems_of: ProblemsOf) -> None:
    overrides = [
        Override(("limits", "max_connections"), 5, "--max-connections"),
        listen(":1"),
        backends({"address": "a:1"}),
    ]
    assert problems_of("limits = 1\nlisteners = 2\npools = 3\n", overrides) == [
        "tcplb.toml:1: limits: must be a table (got 1)",
        "tcplb.toml:2: listeners: must be an array of tables ([[listeners]]) (got 2)",
        "tcplb.toml:3: pools: must be a table (got 3)",
    ]


def test_listen_without_a_file() -> None:
    config = load(None, [listen("127.0.0.1:1")]).config
    assert config.listeners == (ListenerConfig(bind="127.0.0.1:1"),)


def test_listen_keeps_the_other_settings_of_the_listener(load_text: LoadText) -> None:
    text = "[[listeners]]\nname = 'web'\nbind = ':1'\nidle_timeout = '1s'\n" + WEB
    assert load_text(text, [listen(":2")]).config.listeners == (
        ListenerConfig(name="web", bind=":2", pool="web", idle_timeout=1.0),
    )


def test_listen_on_several_addresses(load_text: LoadText) -> None:
    text = "[[listeners]]\nname = 'web'\nbind = ':1'\nidle_timeout = '1s'\n" + WEB
    settings = load_text(text, [listen(":2", ":3"), idle("5s")])
    listeners = settings.config.listeners
    assert [(one.name, one.bind, one.idle_timeout) for one in listeners] == [
        (":2", ":2", 5.0),
        (":3", ":3", 5.0),
    ]


def test_the_origins_after_listen(load_text: LoadText) -> None:
    text = "[[listeners]]\nname = 'web'\nbind = ':1'\nidle_timeout = '1s'\n" + WEB
    settings = load_text(text, [listen(":2", ":3")])
    assert settings.origin_of(("listeners",)) == "--listen"
    assert settings.origin_of(("listeners", 1)) == "--listen"
    assert settings.origin_of(("listeners", 1, "name")) == "default"
    assert settings.origin_of(("listeners", 1, "bind")) == "--listen"
    assert settings.origin_of(("listeners", 1, "idle_timeout")) == "tcplb.toml:4"


def test_listen_keeps_the_tables_of_the_listener(load_text: LoadText) -> None:
    text = "[[listeners]]\naccess = ['deny all']\nper_client.prefix = 24\n" + WEB
    for listener in load_text(text, [listen(":2", ":3")]).config.listeners:
        assert (listener.access, listener.per_client.prefix) == (("deny all",), 24)


def test_listen_replaces_listeners_that_differ_only_in_name_and_address(
    load_text: LoadText,
) -> None:
    text = "[[listeners]]\nname = 'a'\nbind = ':1'\n[[listeners]]\nname = 'b'\nbind = ':2'\n"
    assert load_text(text, [listen(":3")]).config.listeners == (ListenerConfig(bind=":3"),)


def test_listen_with_listeners_that_differ(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\nidle_timeout = '1s'\n[[listeners]]\nbind = ':2'\n"
    assert problems_of(text, [listen(":3")]) == [
        "--listen: the file has 2 listeners with different settings, so it is unclear which one is"
        " meant: change it in the file"
    ]


def test_listen_fills_an_empty_array(load_text: LoadText) -> None:
    config = load_text("listeners = []\n", [listen(":3")]).config
    assert config.listeners == (ListenerConfig(bind=":3"),)


def test_problems_of_listen() -> None:
    assert problems_without_a_file(listen("x", ":1", ":1", 5)) == [
        '--listen: must be HOST:PORT, but the port is missing (got "x")',
        '--listen: must be an address in quotes, such as "127.0.0.1:8081" (got 5)',
        '--listen: must be unique, but listeners[1] has it too (got ":1")',
    ]


def test_one_address_need_not_be_in_a_list() -> None:
    override = Override(("listeners",), ":1", "--listen")
    assert load(None, [override]).config.listeners[0].bind == ":1"


def test_backends_without_a_file() -> None:
    config = load(None, [backends({"address": "a:1"}, {"name": "b", "address": "a:1"})]).config
    assert config.pools["default"].backends == (
        BackendConfig(address="a:1"),
        BackendConfig(name="b", address="a:1"),
    )


def test_backends_replace_those_of_the_only_pool(load_text: LoadText) -> None:
    settings = load_text(
        "[pools.web]\nstrategy = 'hash'\n", [backends({"address": "b:1", "weight": 2})]
    )
    pool = settings.config.pools["web"]
    assert pool.strategy == "hash"
    assert pool.backends == (BackendConfig(address="b:1", weight=2),)
    assert settings.origin_of(("pools", "web", "backends", 0, "weight")) == "--backend"
    assert settings.origin_of(("pools", "web", "backends", 0, "name")) == "default"


def test_problems_of_backends() -> None:
    wrong = backends(
        {"address": "a:1", "weight": 999}, {"address": "b"}, {"address": "a:1"}, {"weight": 1}
    )
    assert problems_without_a_file(wrong) == [
        "--backend: weight: must be at most 256 (got 999)",
        '--backend: address: must be HOST:PORT, but the port is missing (got "b")',
        "--backend: address: is required",
        '--backend: address: must be unique in its pool unless it has a "name",'
        ' but pools.default.backends[0] has it too (got "a:1")',
    ]


def test_no_backends() -> None:
    assert problems_without_a_file(backends()) == ["--backend: must not be empty"]


def test_several_pools(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\npool = 'db'\n" + WEB + DB
    overrides = [backends({"address": "a:1"}), listen(":1")]
    reason = "the file has several pools (web, db), so it is unclear which one is meant"
    assert problems_of(text, overrides) == [
        f"--backend: {reason}: change it in the file",
        f"--listen: {reason}: change it in the file",
    ]


def check(key: str, value: object, *, needs_table: bool = True) -> Override:
    return Override(("pools", "*", "check", key), value, f"--check-{key}", needs_table)


def test_what_needs_a_table_does_not_make_one() -> None:
    settings = load(None, [check("interval", "1s")])
    assert settings.config.pools["default"].check is None


def test_what_needs_a_table_changes_one_of_the_file(load_text: LoadText) -> None:
    text = "[[listeners]]\npool = 'db'\n" + WEB + "check = {}\n" + DB
    settings = load_text(text, [check("interval", "1s")])
    assert settings.config.pools["web"].check == CheckConfig(interval=1.0)
    assert settings.config.pools["db"].check is None
    assert settings.origin_of(("pools", "web", "check", "interval")) == "--check-interval"
    assert settings.origin_of(("pools", "web", "check")) == "tcplb.toml:5"


def test_what_needs_a_table_changes_one_that_another_override_makes() -> None:
    overrides = [check("interval", "1s"), check("type", "http", needs_table=False)]
    pool = load(None, overrides).config.pools["default"]
    assert pool.check == CheckConfig(type="http", interval=1.0)


def test_a_problem_in_a_list_is_told_without_its_position() -> None:
    rules = Override(("listeners", "*", "access"), ["deny all", "deny none"], "--access")
    assert problems_without_a_file(rules) == [
        "--access: must have a network such as 10.0.0.0/8 ('none' does not appear to be an IPv4 or"
        ' IPv6 network) (got "deny none")'
    ]


def test_an_override_that_nothing_knows() -> None:
    override = Override(("limits", "max_conections"), 5, "--x")
    assert problems_without_a_file(override) == [
        '--x: unknown key (did you mean "max_connections"?)'
    ]


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ("127.0.0.1:8081", {"address": "127.0.0.1:8081"}),
        ("b1=[::1]:8081", {"name": "b1", "address": "[::1]:8081"}),
        ("a:1,weight=0", {"address": "a:1", "weight": 0}),
        ("a:1,max_connections=100", {"address": "a:1", "max_connections": 100}),
        ("a:1,max_connections=0,weight=2", {"address": "a:1", "max_connections": 0, "weight": 2}),
        ("b=a:1,weight=-3", {"name": "b", "address": "a:1", "weight": -3}),
        ("a:1,tier=2", {"address": "a:1", "tier": 2}),
        ("a:1,backup,state=draining", {"address": "a:1", "backup": True, "state": "draining"}),
        ("a:1,state=", {"address": "a:1", "state": ""}),
        ("=a:1", {"name": "", "address": "a:1"}),
        ("", {"address": ""}),
    ],
)
def test_parse_backend(text: str, backend: dict[str, object]) -> None:
    assert parse_backend(text) == backend


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:1,weigth=3", f'must be {BACKEND_FORM}'
            ' (got "a:1,weigth=3"; did you mean "weight=N"?)'),
        ("a:1,weight", f'must be {BACKEND_FORM}'
            ' (got "a:1,weight"; did you mean "weight=N"?)'),
        ("a:1,", f'must be {BACKEND_FORM} (got "a:1,")'),
        ("a:1,max_conns=9", f'must be {BACKEND_FORM}'
            ' (got "a:1,max_conns=9"; did you mean "max_connections=N"?)'),
        ("a:1,max_connections=x", 'max_connections must be a whole number (got "x")'),
        ("a:1,backup=yes",
            f'must be {BACKEND_FORM} (got "a:1,backup=yes"; did you mean "backup"?)'),
        ("a:1,backpu", f'must be {BACKEND_FORM} (got "a:1,backpu"; did you mean "backup"?)'),
        ("a:1,state", f'must be {BACKEND_FORM} (got "a:1,state"; did you mean "state=draining"?)'),
        ("a:1,tier=x", 'tier must be a whole number (got "x")'),
        ("a:1,backup,backup", 'must have backup only once (got "a:1,backup,backup")'),
        ("a:1,weight=x", 'weight must be a whole number (got "x")'),
        ("a:1,weight=", 'weight must be a whole number (got "")'),
        ("a:1,weight=1.5", 'weight must be a whole number (got "1.5")'),
        ("a:1,weight=٣", 'weight must be a whole number (got "٣")'),
        ("a:1,weight=²", 'weight must be a whole number (got "²")'),
        ("a:1,weight=1,weight=2", 'must have weight only once (got "a:1,weight=1,weight=2")'),
    ],
)  # fmt: skip
def test_what_is_no_backend(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_backend(text)
    assert str(caught.value) == message


def test_an_enormous_weight_is_no_traceback() -> None:
    with pytest.raises(ValueError, match="weight must be a whole number"):
        parse_backend("a:1,weight=" + "9" * 5000)
