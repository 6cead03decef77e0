"""`tcplb ctl config` and `reload`."""

from __future__ import annotations

import json
import tomllib

import pytest

from tcplb.cli.ctl.toml import config_lines
from tcplb.config.settings import Override, load
from tcplb.control.admin.models import ConfigView
from tcplb.errors import BindError, ChangeError, ConfigError, Problem
from tests.cli.ctl.balancer import Balancer
from tests.control.admin.fake import FakeControl

WRONG = [
    Problem("/etc/tcplb.toml:3", "pools.web.strategy", 'must be one of hash (got "hsah")'),
    Problem("/etc/tcplb.toml:9", "log.level", "is wrong"),
]


def test_show(balancer: Balancer) -> None:
    assert balancer.says("config").splitlines()[1:] == [
        "workers = 2  # --workers",
        "",
        "[pools.web]",
        'strategy = "hash"  # tcplb.toml:7',
    ]
    assert balancer.says("config").startswith("# /etc/tcplb/tcplb.toml, in force since 2023-11-1")


def test_the_whole_of_a_real_config_comes_back_as_toml() -> None:
    backends = [{"name": "a", "address": "127.0.0.1:1"}, {"address": "[::1]:2", "weight": 5}]
    settings = load(None, [Override(("backends",), backends, "--backend")])
    written = settings.config.model_dump(mode="json")
    origins = {"pools.default.backends[1].weight": "--backend"}
    view = ConfigView(file="\x1b.toml", loaded_at=0, config=written, origins=origins)
    text = "\n".join(config_lines(view))
    assert tomllib.loads(text) == settings.config.model_dump(mode="json", exclude_none=True)
    assert "weight = 5  # --backend" in text
    assert "\x1b" not in text


def test_show_as_json(balancer: Balancer) -> None:
    assert json.loads(balancer.says("config", "--format", "json"))["config"]["workers"] == 2


def test_no_difference(balancer: Balancer) -> None:
    assert balancer.says("config", "diff").startswith("no runtime changes")


def test_difference(balancer: Balancer) -> None:
    balancer.says("weight", "b1", "5")
    assert balancer.says("config", "diff").splitlines() == [
        "~ pools.web: backend b1 of pool web: weight 5",
        "",
        "1 runtime change:",
        "  backend b1 of pool web: weight 5",
    ]
    answer = json.loads(balancer.says("config", "--format", "json", "diff"))
    assert answer["runtime_changes"] == ["backend b1 of pool web: weight 5"]


def test_save(balancer: Balancer) -> None:
    balancer.says("weight", "b1", "5")
    assert balancer.says("config", "save").splitlines() == [
        "1 runtime change saved into /etc/tcplb/tcplb.toml:",
        "  backend b1 of pool web: weight 5",
    ]
    assert balancer.says("config", "save") == (
        "there was nothing to save into /etc/tcplb/tcplb.toml\n"
    )


def test_save_that_cannot_be(balancer: Balancer) -> None:
    def no_file(control: FakeControl) -> None:
        control.save_error = ChangeError("the file has changed since it was loaded")

    balancer.do(no_file)
    assert balancer.fails("config", "save") == "tcplb: the file has changed since it was loaded\n"


def test_reload(balancer: Balancer) -> None:
    assert balancer.says("reload") == "~ pools.web.strategy: round-robin → hash\n"
    assert balancer.control.reloads == [{"discard_changes": False}]


def test_a_dry_run_changes_nothing(balancer: Balancer) -> None:
    assert "round-robin → hash" in balancer.says("reload", "--dry-run", "--discard-changes")
    assert balancer.control.reloads == []
    answer = json.loads(balancer.says("reload", "--dry-run", "--format", "json"))
    assert answer["applied"] is False


def test_discarded_changes_are_notes(balancer: Balancer) -> None:
    balancer.says("weight", "b1", "5")
    text = balancer.says("reload", "--discard-changes")
    assert "Note: backend b1 of pool web: weight 5 was dropped" in text
    assert balancer.control.reloads == [{"discard_changes": True}]


def fail_with(balancer: Balancer, error: Exception) -> None:
    def set_error(control: FakeControl) -> None:
        control.reload_error = error

    balancer.do(set_error)


def test_a_bad_file_is_said_as_check_says_it(balancer: Balancer) -> None:
    fail_with(balancer, ConfigError(WRONG))
    assert balancer.fails("reload", code=3) == (
        '/etc/tcplb.toml:3: pools.web.strategy: must be one of hash (got "hsah")\n'
        "/etc/tcplb.toml:9: log.level: is wrong\n"
    )


@pytest.mark.parametrize("where", ["--backend", "TCPLB_WORKERS"])
def test_a_flag_of_the_balancers_is_no_wrong_use_of_ours(balancer: Balancer, where: str) -> None:
    fail_with(balancer, ConfigError([Problem(where, "x", "is wrong")]))
    assert balancer.fails("reload", code=3) == f"{where}: x: is wrong\n"


def test_an_address_that_is_in_use(balancer: Balancer) -> None:
    fail_with(balancer, BindError("cannot listen on 127.0.0.1:80: Address already in use"))
    assert "Address already in use" in balancer.fails("reload")
