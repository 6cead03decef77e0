from __future__ import annotations

from pathlib import Path

from tcplb.config.models import Config, ListenerConfig
from tcplb.config.settings import load
from tests.config.conftest import LoadText, ProblemsOf

WEB = "[pools.web]\nbackends = [{ address = 'a:1' }]\n"
DB = "[pools.db]\nbackends = [{ address = 'a:2' }]\n"
DEFAULT = "[pools.default]\nbackends = [{ address = 'a:3' }]\n"


def test_nothing_at_all(load_text: LoadText) -> None:
    assert load(None).config == Config()
    assert load_text("").config == Config()


def test_one_pool_and_no_listener(load_text: LoadText) -> None:
    assert load_text(WEB).config.listeners == (ListenerConfig(pool="web"),)


def test_several_pools_and_no_listener(problems_of: ProblemsOf) -> None:
    assert problems_of(WEB + DB) == [
        "tcplb.toml:1: listeners: is required, because there are several pools (web, db)"
    ]


def test_a_listener_gets_the_only_pool(load_text: LoadText) -> None:
    assert load_text("[[listeners]]\nbind = ':1'\n" + WEB).config.listeners[0].pool == "web"


def test_a_listener_gets_the_default_pool(load_text: LoadText) -> None:
    config = load_text("[[listeners]]\nbind = ':1'\n" + WEB + DEFAULT).config
    assert config.listeners[0].pool == "default"


def test_a_listener_whose_pool_is_unclear(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\npool = 'db'\n[[listeners]]\nbind = ':1'\n"
    assert problems_of(text + WEB + DB) == [
        "tcplb.toml:3: listeners[1].pool: is required, because there are several pools (web, db)"
    ]


def test_listeners_and_no_pool(load_text: LoadText) -> None:
    config = load_text("[[listeners]]\nbind = ':1'\npool = 'default'\n").config
    assert config.pools == Config().pools


def test_one_listener_is_called_default(load_text: LoadText) -> None:
    assert load_text("[[listeners]]\nbind = ':1'\n").config.listeners[0].name == "default"


def test_each_of_several_listeners_is_called_by_its_address(load_text: LoadText) -> None:
    text = "[[listeners]]\nbind='*:01'\n[[listeners]]\nname='b'\nbind=':2'\n[[listeners]]\n"
    names = [listener.name for listener in load_text(text).config.listeners]
    assert names == [":1", "b", "127.0.0.1:9090"]


def test_a_name_that_is_taken_is_not_given_twice(load_text: LoadText) -> None:
    text = "[[listeners]]\nbind=':1'\n[[listeners]]\nname=':1'\nbind=':2'\n"
    names = [listener.name for listener in load_text(text).config.listeners]
    assert names == [":1-2", ":1"]


def test_a_listener_with_a_wrong_address_has_that_one_problem(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\nbind=':1'\n[[listeners]]\nbind='x'\n"
    assert problems_of(text) == [
        'tcplb.toml:4: listeners[1].bind: must be HOST:PORT, but the port is missing (got "x")'
    ]


def test_a_file_of_its_own_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch()
    assert load(tmp_path / "a.toml").config == load(None).config
