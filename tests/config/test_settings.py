from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.describe import to_toml
from tcplb.config.models import CheckConfig, Config
from tcplb.config.overrides import Override
from tcplb.config.settings import load
from tcplb.errors import ConfigError
from tests.config.conftest import LoadText

TEXT = """\
[[listeners]]
bind = "127.0.0.1:80"

[pools.web]
strategy = "hash"
[[pools.web.backends]]
address = "127.0.0.1:8081"
"""


def test_flag_over_environment_over_file_over_default(load_text: LoadText) -> None:
    settings = load_text(
        TEXT + '[log]\nlevel = "debug"\nformat = "json"\n',
        [
            Override(("log", "level"), "warning", "TCPLB_LOG_LEVEL"),
            Override(("log", "format"), "json", "TCPLB_LOG_FORMAT"),
            Override(("log", "format"), "text", "--log-format"),
        ],
    )
    log = settings.config.log
    assert (log.access, log.level, log.format) == ("-", "warning", "text")
    assert settings.origin_of(("log", "access")) == "default"
    assert settings.origin_of(("log", "level")) == "TCPLB_LOG_LEVEL"
    assert settings.origin_of(("log", "format")) == "--log-format"
    assert settings.origin_of(("log",)) == "tcplb.toml:8"


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ((), "default"),
        (("listeners",), "tcplb.toml:1"),
        (("listeners", 0), "tcplb.toml:1"),
        (("listeners", 0, "bind"), "tcplb.toml:2"),
        (("listeners", 0, "name"), "default"),
        (("listeners", 0, "pool"), "default"),
        (("listeners", 0, "nosuch"), "tcplb.toml:1"),
        (("pools", "web"), "tcplb.toml:4"),
        (("pools", "web", "strategy"), "tcplb.toml:5"),
        (("pools", "web", "eject"), "default"),
        (("pools", "web", "eject", "failures"), "default"),
        (("pools", "web", "backends", 0, "address"), "tcplb.toml:7"),
        (("pools", "web", "backends", 0, "weight"), "default"),
        (("limits", "max_connections"), "default"),
    ],
)
def test_origins(load_text: LoadText, path: tuple[str | int, ...], origin: str) -> None:
    assert load_text(TEXT).origin_of(path) == origin


def test_every_value_has_its_own_origin() -> None:
    assert set(load(None).origins.values()) == {"default"}
    assert len(load(None).origins) == 104


def test_settings_are_frozen() -> None:
    settings = load(None)
    with pytest.raises(TypeError):
        settings.origins[("a",)] = "b"  # type: ignore[index]  # what must not work
    with pytest.raises(AttributeError):
        settings.config = Config()  # type: ignore[misc]  # the same


def test_loading_again_gives_the_same(load_text: LoadText) -> None:
    overrides = [
        Override(("listeners",), [":1", ":2"], "--listen"),
        Override(("backends",), [{"address": "a:1"}], "--backend"),
    ]
    assert load_text(TEXT, overrides) == load_text(TEXT, overrides)
    assert overrides[1].value == [{"address": "a:1"}]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nosuch.toml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: no such file"


def test_the_example_loads_and_shows_every_default() -> None:
    example = Path(__file__).parents[2] / "examples" / "tcplb.toml"
    settings = load(example)
    config = settings.config
    assert [listener.name for listener in config.listeners] == ["web", "database"]
    assert list(config.pools) == ["web", "database"]
    default = Config()
    names = {"name": "web", "pool": "web"}
    listener, web, pool = config.listeners[0], config.pools["web"], default.pools["default"]
    assert listener.model_copy(update={"access": ()}) == default.listeners[0].model_copy(
        update=names
    )
    assert listener.access[:2] == ("allow 127.0.0.0/8", "allow ::1/128")
    assert web.check == CheckConfig(type="http")
    assert web.model_copy(update={"check": None, "backends": pool.backends}) == pool
    named = {"name": "web-1", "address": "127.0.0.1:8081"}
    assert web.backends[0] == pool.backends[0].model_copy(update=named)
    assert (config.workers, config.limits, config.log) == (
        default.workers,
        default.limits,
        default.log,
    )
    shown = {path for path, origin in settings.origins.items() if origin != "default"}
    first = {path for path in settings.origins if path[:2] == ("listeners", 0)}
    web_paths = {path for path in settings.origins if path[:2] == ("pools", "web")}
    web_paths -= {path for path in web_paths if path[2:3] == ("backends",) and path[3:4] > (0,)}
    # An HTTP check has none of the keys of the other type. The other pool does.
    web_paths -= {("pools", "web", "check", key) for key in ("send", "expect")}
    database = {("pools", "database", "check", key) for key in ("send", "expect")}
    whole = {path for path in settings.origins if path[0] in {"workers", "limits", "log"}}
    assert first | web_paths | database | whole <= shown


VALUES = st.recursive(
    st.sampled_from(
        [
            5,
            -1,
            10**400,
            0.5,
            float("nan"),
            float("inf"),
            True,
            "",
            "x",
            "5s",
            "a:1",
            "a b",
            "\ud800",
        ]
    )
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "bind",
                    "address",
                    "weight",
                    "x y",
                    "type",
                    "path",
                    "burst",
                    "backup",
                    "tier",
                ]
            ),
            inner,
        )
    ),
    max_leaves=4,
)
PATHS: list[tuple[str | int, ...]] = [
    *load(None).origins,
    ("listeners", "*", "idle_timeout"),
    ("backends",),
    ("nosuch",),
    *(("pools", "default", "check", key) for key in CheckConfig.model_fields),
]


@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES), max_size=4))
def test_any_value_anywhere_is_right_or_told_to_be_wrong(
    given_values: list[tuple[tuple[str | int, ...], object]],
) -> None:
    overrides = [Override(path, value, "--flag") for path, value in given_values]
    try:
        settings = load(None, overrides)
    except ConfigError as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() for line in lines)
    else:
        assert to_toml(settings)
