from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tcplb.dataplane.record import Record, to_json
from tcplb.dataplane.termination import Termination
from tests.cli.invoke import invoke
from tests.processes import WAIT

BEGAN = 1795356187.0


def line(at: float = 0.0, lasts: float = 1.0, **changes: Any) -> str:
    """The log line of a session accepted `at` seconds after the first one."""
    known: dict[str, Any] = {
        "accepted_at": BEGAN + at,
        "began": 100.0,
        "listener": "web",
        "pool": "web",
        "client_host": "203.0.113.5",
        "client_port": 51234,
        "key": b"/x",
        "classified": 100.0,
        "backend": "a",
        "connected": 100.0,
        "ended": 100.0 + lasts,
    }
    return to_json(Record(**known | changes))


def day(sessions: int = 60, **changes: Any) -> list[str]:
    """Sessions of 20 keys over two backends, one a second, each two seconds long."""
    return [
        line(number, 2.0, **{"key": b"/%d" % (number % 20), "backend": "ab"[number % 2], **changes})
        for number in range(sessions)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, lines: Iterable[str]) -> str:
    path = folder / "access.log"
    path.write_text("".join(f"{text}\n" for text in lines))
    return str(path)


def simulated(*arguments: str) -> dict[str, Any]:
    result = invoke("simulate", "--format", "json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def only(*arguments: str) -> dict[str, Any]:
    (strategy,) = simulated(*arguments)["strategies"]
    assert isinstance(strategy, dict)
    return strategy


def text(*arguments: str) -> str:
    result = invoke("simulate", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def wrong_use(*arguments: str) -> str:
    result = invoke("simulate", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def test_the_whole_of_a_text(folder: Path) -> None:
    log = write(folder, [*day(), "nonsense"])
    assert text("--strategy", "hash", "--strategy", "round-robin", log) == (
        "60 connections in 61 s, 2 backends in the log\n"
        "1 bad line left out; the first is line 61: it is not JSON\n"
        "\n"
        "strategy     max/mean  of active  keys moved  waited  mean wait  p99 wait  max wait  "
        "timed out  refused\n"
        "hash             1.30       1.30     55.00 %       0          –         –         –  "
        "        0        0\n"
        "round-robin      1.00       1.00           –       0          –         –         –  "
        "        0        0\n"
        "\n"
        "strategy hash\n"
        "backend  in the log  connections    share  by weight  peak  mean active\n"
        "a                30           39  65.00 %    50.00 %     2         1.28\n"
        "b                30           21  35.00 %    50.00 %     2         0.69\n"
        "11 of 20 keys moved\n"
        "\n"
        "strategy round-robin\n"
        "backend  in the log  connections    share  by weight  peak  mean active\n"
        "a                30           30  50.00 %    50.00 %     1         0.98\n"
        "b                30           30  50.00 %    50.00 %     1         0.98\n"
    )


def test_the_whole_of_a_json(folder: Path) -> None:
    log = write(folder, [line(0, 2), line(0, 1), line(1, 1, backend="b"), "nonsense"])
    assert simulated("--strategy", "hash", "--backend", "a=h:1,max_connections=1", log) == {
        "log": {
            "connections": 3,
            "bad_lines": 1,
            "first_bad_line": "line 4: it is not JSON",
            "ended_before_choice": 0,
            "turned_away": 0,
            "without_key": 0,
            "backends": {"a": 2, "b": 1},
        },
        "strategies": [
            {
                "strategy": "hash",
                "connections": 3,
                "seconds": 4.0,
                "imbalance": 1.0,
                "active_imbalance": 1.0,
                "keys": {"keys": 1, "moved": 0},
                "queue": {
                    "waited": 2,
                    "mean_seconds": 2.0,
                    "p99_seconds": 2.0,
                    "max_seconds": 2.0,
                    "timed_out": 0,
                    "refused": 0,
                },
                "without_backend": 0,
                "failures": 0,
                "first_failure": None,
                "backends": [
                    {
                        "name": "a",
                        "weight_share": 1.0,
                        "connections": 3,
                        "share": 1.0,
                        "peak": 1,
                        "mean_active": 1.0,
                    }
                ],
            }
        ],
    }


# -- which backends and strategies ------------------------------------------------------------


def test_without_backends_in_the_settings_those_of_the_log_share_alike(folder: Path) -> None:
    result = only(write(folder, day()))
    assert result["strategy"] == "round-robin"
    assert [(one["name"], one["connections"]) for one in result["backends"]] == [
        ("a", 30),
        ("b", 30),
    ]


def test_backends_of_the_settings_replace_those_of_the_log(folder: Path) -> None:
    flags = ("--backend", "x=h:1,weight=3", "--backend", "y=h:2")
    result = only(*flags, write(folder, day()))
    assert [(one["name"], one["connections"]) for one in result["backends"]] == [
        ("x", 45),
        ("y", 15),
    ]


def test_the_backends_may_be_in_a_file(folder: Path) -> None:
    config = folder / "tcplb.toml"
    config.write_text('pools.any.backends = [{name = "x", address = "h:1"}]\n')
    result = only("--config", str(config), write(folder, day()))
    assert [one["name"] for one in result["backends"]] == ["x"]


def test_several_strategies_are_compared_each_once(folder: Path) -> None:
    log = write(folder, day())
    flags = ("--strategy", "hash", "--strategy", "first", "--strategy", "hash")
    assert [one["strategy"] for one in simulated(*flags, log)["strategies"]] == ["hash", "first"]
    result = invoke(
        "simulate", "--format", "json", log, environment={"TCPLB_STRATEGY": "hash first"}
    )
    assert [one["strategy"] for one in json.loads(result.stdout)["strategies"]] == ["hash", "first"]


def test_the_help_says_that_there_may_be_several_and_that_of_serve_does_not() -> None:
    assert "they are compared" in " ".join(invoke("simulate", "--help").output.split())
    assert "they are compared" not in " ".join(invoke("serve", "--help").output.split())


def test_chance_is_the_same_with_the_same_seed(folder: Path) -> None:
    log = write(folder, day())
    arguments = ("--strategy", "random", log)
    assert only(*arguments) == only(*arguments, "--seed", "0") != only(*arguments, "--seed", "1")


# -- which sessions and keys ------------------------------------------------------------------


def test_of_several_pools_in_the_log_one_has_to_be_meant(folder: Path) -> None:
    log = write(folder, [*day(10), *day(4, pool="db")])
    assert "the log is of several pools (db, web)" in wrong_use(log)
    assert simulated("--pool", "db", log)["log"]["connections"] == 4


def test_of_several_pools_in_the_settings_one_has_to_be_meant(folder: Path) -> None:
    config = folder / "tcplb.toml"
    config.write_text(
        'listeners = [{pool = "web"}]\n'
        'pools.web = {strategy = "hash", backends = [{address = "h:1"}]}\n'
        'pools.db = {strategy = "first", backends = [{address = "h:2"}]}\n'
    )
    log = write(folder, [*day(10), *day(4, pool="db")])
    assert "several pools (web, db)" in wrong_use("--config", str(config), log)
    assert 'did you mean "web"?' in wrong_use("--config", str(config), "--pool", "wbe", log)
    result = only("--config", str(config), "--pool", "db", log)
    assert (result["strategy"], result["connections"]) == ("first", 4)


def test_without_keys_in_the_log_the_clients_stand_in(folder: Path) -> None:
    lines = [line(at, client_host=f"203.0.113.{at}", key=b"") for at in range(40)]
    log = write(folder, lines)
    answer = simulated("--strategy", "hash", log)
    assert answer["log"]["without_key"] == 40
    assert answer["strategies"][0]["keys"]["keys"] == 40
    assert "40 without a key: the client's address stands in" in text("--strategy", "hash", log)


def test_the_clients_may_be_the_keys_by_the_prefix_of_the_pool(folder: Path) -> None:
    lines = [line(at, client_host=f"203.0.113.{at}", key=b"/%d" % at) for at in range(40)]
    log = write(folder, lines)
    flags = ("--strategy", "hash", "--key-from", "client")
    assert only(*flags, log)["keys"]["keys"] == 40
    assert only(*flags, "--hash-key", "client/24", log)["keys"]["keys"] == 1


def test_what_is_left_out_is_told(folder: Path) -> None:
    refused: dict[str, Any] = {"backend": None, "termination": Termination.DENIED}
    away: dict[str, Any] = {"backend": None, "termination": Termination.QUEUE_FULL}
    shown = text(write(folder, [*day(3), line(**refused), line(**away), "[1]", "x"]))
    assert shown.splitlines()[:4] == [
        "4 connections in 4 s, 2 backends in the log",
        "2 bad lines left out; the first is line 6: it is not a line of a JSON access log",
        "1 left out: they ended before a backend was to be chosen",
        "1 of them met no backend then; they are replayed with what little time they had",
    ]


def test_a_log_from_outside_cannot_obey_the_terminal(folder: Path) -> None:
    log = write(folder, [line(pool="\x07one", backend="\x07a"), "\x07"])
    assert "\x07" not in text(log)
    log = write(folder, [line(pool="\x07one"), line(pool="two")])
    assert "\x07" not in wrong_use(log)


# -- what comes of it -------------------------------------------------------------------------


def test_a_backend_that_is_drained_takes_none(folder: Path) -> None:
    flags = ("--backend", "x=h:1,state=draining")
    log = write(folder, day(5))
    assert only(*flags, log)["without_backend"] == 5
    assert "5 met no backend that takes connections" in text(*flags, log)


def test_the_rules_of_the_queue_are_those_of_the_pool(folder: Path) -> None:
    log = write(folder, [line(0, 9) for _ in range(4)])
    flags = ("--backend", "x=h:1,max_connections=1", "--queue-size", "2", "--queue-timeout", "1s")
    queue = only(*flags, log)["queue"]
    assert (queue["waited"], queue["timed_out"], queue["refused"]) == (2, 2, 1)


def test_a_function_of_the_users_own_that_fails_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "simulated_strategy.py").write_text("def pick(key, backends):\n    1 / 0\n")
    shown = text("--strategy", "simulated_strategy:pick", write(folder, day(5)))
    assert shown.splitlines()[-1] == (
        "the function failed 5 times, first because it raised ZeroDivisionError: division by zero"
    )


# -- what cannot be replayed ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the log is empty"),
        (
            ["127.0.0.1:51234 [22/Nov/2026:14:03:07.123] web web/b1 0/1/57 212 --"],
            "no line is of a JSON access log, which `tcplb serve --log-format json` writes; "
            "line 1: it is not JSON",
        ),
        (
            [line(backend=None, termination=Termination.DENIED)],
            "all connections in the log ended before a backend was to be chosen",
        ),
    ],
)
def test_a_log_without_a_good_line_ends_it_with_1(
    folder: Path, lines: list[str], message: str
) -> None:
    result = invoke("simulate", write(folder, lines))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"tcplb: {message}\n"


def test_a_pool_that_the_log_does_not_have_ends_it_with_1(folder: Path) -> None:
    result = invoke("simulate", "--pool", "wbe", write(folder, day(3)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "tcplb: the log has no connection of the pool wbe, only of web\n"


def test_wrong_use_ends_it_with_2(folder: Path) -> None:
    assert "Missing argument 'LOG'" in wrong_use()
    assert "No such file" in wrong_use(str(folder / "none.log"))
    assert 'did you mean "hash"?' in wrong_use("--strategy", "hsah", write(folder, day(3)))


def test_a_wrong_file_ends_it_with_3(folder: Path) -> None:
    config = folder / "tcplb.toml"
    config.write_text("nonsense = 1\n")
    result = invoke("simulate", "--config", str(config), write(folder, day(3)))
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"{config}:1: nonsense" in result.stderr


def test_the_log_may_come_in_by_a_pipe_and_be_of_any_bytes() -> None:
    log = "\n".join(day(5)).encode() + b"\n\xff\xfe\x00\n"
    done = subprocess.run(
        [sys.executable, "-m", "tcplb", "simulate", "--format", "json", "-"],
        input=log,
        capture_output=True,
        timeout=WAIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    answer = json.loads(done.stdout)
    assert (answer["log"]["connections"], answer["log"]["bad_lines"]) == (5, 1)
