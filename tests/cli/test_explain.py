from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tcplb.policy.names import StrategyName
from tests.cli.invoke import invoke
from tests.processes import WAIT

CLIENT = ("--client", "203.0.113.5")
HASH = ("--strategy", "hash")

FILE = """
[[listeners]]
name = "web"
bind = "127.0.0.1:9090"
pool = "web"
access = ["allow 203.0.113.0/24", "deny all"]

[[listeners]]
name = "any"
bind = ":9432"
pool = "db"

[pools.web]
strategy = "hash"
backends = [
  {name = "one", address = "10.0.0.1:80"},
  {name = "two", address = "10.0.0.2:80", weight = 0},
  {name = "three", address = "10.0.0.3:80", max_connections = 7},
  {name = "spare", address = "10.0.0.4:80", backup = true},
]

[pools.db]
strategy = "maglev"
hash_key = "destination"
backends = [{address = "10.0.1.1:5432"}]

[pools.idle]
backends = [{address = "10.0.2.1:1"}]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "tcplb.toml"
    path.write_text(FILE)
    return str(path)


def explained(*arguments: str) -> dict[str, Any]:
    result = invoke("explain", *CLIENT, "--format", "json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {one["backend"]: one["verdict"] for one in answer["candidates"]}


def wrong_use(*arguments: str) -> str:
    result = invoke("explain", *CLIENT, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def test_the_whole_of_a_text() -> None:
    result = invoke("explain", *CLIENT, *HASH, "--request", "/hello", "--down", "127.0.0.1:8083")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "client  203.0.113.5, welcome at listener default because no access rule matches\n"
        "pool    default, strategy hash\n"
        'key     "/hello", the target of the request line (hash_key auto)\n'
        "xxh64   726d63fb08ed452e\n"
        "\n"
        "backend         verdict     tier  rank  weight  active\n"
        "127.0.0.1:8083  down           0     1       1       0\n"
        "127.0.0.1:8084  chosen         0     2       1       0\n"
        "127.0.0.1:8082  not needed     0     3       1       0\n"
        "127.0.0.1:8081  not needed     0     4       1       0\n"
        "\n"
        "It goes to 127.0.0.1:8084: the first that is usable in its order.\n"
    )


def test_the_whole_of_a_json(file: str) -> None:
    assert explained("--config", file, "--active", "one=3") == {
        "client": "203.0.113.5",
        "listener": "web",
        "access": {"allowed": True, "rule": "allow 203.0.113.0/24"},
        "pool": "web",
        "strategy": "hash",
        "keyed": True,
        "key": {
            "value": "203.0.113.5",
            "source": "the client's address, because no request is given",
            "hash_key": "auto",
            "xxh64": "ba64039d8c662b8a",
        },
        "candidates": [
            {
                "backend": name,
                "address": address,
                "verdict": verdict,
                "tier": tier,
                "rank": rank,
                "weight": weight,
                "active": active,
                "max_connections": limit,
            }
            for name, address, verdict, tier, rank, weight, active, limit in (
                ("three", "10.0.0.3:80", "chosen", 0, 1, 1, 0, 7),
                ("one", "10.0.0.1:80", "next", 0, 2, 1, 3, None),
                ("two", "10.0.0.2:80", "weight_0", 0, None, 0, 0, None),
                ("spare", "10.0.0.4:80", "not_reached", 1, 1, 1, 0, None),
            )
        ],
        "chosen": "three",
        "stage": "order",
        "trial": False,
        "notes": [],
    }


# -- what is supposed -------------------------------------------------------------------------


def test_whoever_is_out_is_passed_by(file: str) -> None:
    answer = explained("--config", file, "--down", "one", "--tried", "three")
    assert verdicts(answer) == {
        "one": "down",
        "three": "tried",
        "two": "weight_0",
        "spare": "chosen",
    }


def test_an_ejection_that_the_pool_does_not_believe_is_told() -> None:
    flags = [flag for port in (8081, 8082, 8083) for flag in ("--ejected", f"127.0.0.1:{port}")]
    answer = explained(*HASH, *flags)
    assert sorted(verdicts(answer).values()).count("ejected") == 2
    assert answer["notes"] == [
        "127.0.0.1:8083 is not ejected: the last usable backend never is, nor more of them than "
        "eject.max_ejected_percent"
    ]


def test_a_full_backend_has_all_that_it_may_have(file: str) -> None:
    answer = explained("--config", file, "--full", "three", "--full", "one")
    assert verdicts(answer)["three"] == verdicts(answer)["one"] == "full"
    assert [one["active"] for one in answer["candidates"]] == [7, 1, 0, 0]
    assert (answer["chosen"], answer["stage"]) == (None, "full")
    assert answer["notes"] == ["one has no max_connections: it is taken for 1"]


def test_a_backend_without_a_limit_is_full_with_what_it_has(file: str) -> None:
    answer = explained("--config", file, "--full", "one", "--active", "one=5")
    assert verdicts(answer)["one"] == "full"
    assert answer["notes"] == ["one has no max_connections: it is taken for 5"]


@pytest.mark.parametrize(
    ("size", "end"),
    [
        ("50", "it waits in the line of 50 places, 5 s at most."),
        ("0", "it is turned away (queue.size is 0)."),
    ],
)
def test_when_all_are_full_it_says_who_waits(size: str, end: str) -> None:
    one = ("--backend", "a=h:1,max_connections=9", "--queue-size", size, "--full", "a")
    text = invoke("explain", *CLIENT, *one).stdout
    assert text.splitlines()[-1] == f"No backend: all that could be used are full; {end}"


def test_nobody_left_is_turned_away() -> None:
    text = invoke("explain", *CLIENT, "--backend", "a=h:1", "--tried", "a").stdout
    assert text.splitlines()[-1] == "No backend: none is left; it is turned away."


def test_the_bound_of_load_is_seen_with_supposed_connections() -> None:
    bounded = (*HASH, "--hash-balance-factor", "125")
    owner = explained(*bounded)["chosen"]
    answer = explained(*bounded, "--active", f"{owner}=40")
    assert verdicts(answer)[owner] == "over_bound"
    assert answer["chosen"] not in (None, owner)


def test_a_name_that_is_not_there_is_corrected() -> None:
    for option in ("--down", "--ejected", "--full", "--tried"):
        error = wrong_use(option, "127.0.0.1:808")
        assert f"Invalid value for {option}" in error
        assert 'did you mean "127.0.0.1:8084"?' in error
    assert "did you mean" in wrong_use("--active", "127.0.0.1:808=1")


@pytest.mark.parametrize("text", ["127.0.0.1:8081", "127.0.0.1:8081=x", "=1", "a=-1", "a=²"])
def test_a_number_of_connections_is_needed(text: str) -> None:
    assert "must be BACKEND=N" in wrong_use("--active", text)


# -- who, where and by which key --------------------------------------------------------------


def test_a_client_that_is_denied_is_told_and_explained_all_the_same(file: str) -> None:
    result = invoke("explain", "--config", file, "--client", "192.0.2.1")
    assert result.exit_code == 0
    assert 'client  192.0.2.1, REFUSED at listener web by "deny all"\n' in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Refused. If it were not: It goes to ")


def test_the_listener_says_which_pool(file: str) -> None:
    answer = explained("--config", file, "--listener", "any", "--destination", "192.0.2.9:9432")
    assert (answer["listener"], answer["pool"]) == ("any", "db")
    assert answer["access"] == {"allowed": True, "rule": None}
    assert answer["key"]["value"] == "192.0.2.9:9432"


def test_the_pool_says_which_listener(file: str) -> None:
    answer = explained("--config", file, "--pool", "db", "--destination", "192.0.2.9:9432")
    assert answer["listener"] == "any"
    assert explained("--config", file, "--pool", "idle")["listener"] is None
    text = invoke("explain", *CLIENT, "--config", file, "--pool", "idle").stdout
    assert text.startswith("client  203.0.113.5, no listener sends to this pool\n")


def test_the_destination_is_what_the_listener_binds_if_that_is_one_address(file: str) -> None:
    keyed = (*HASH, "--hash-key", "destination")
    assert explained(*keyed, "--listen", "127.0.0.1:9090")["key"]["value"] == "127.0.0.1:9090"
    for listen in (":9090", "0.0.0.0:9090", "127.0.0.1:0"):
        assert "is needed, because the hash key is" in wrong_use(*keyed, "--listen", listen)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("--hash-key", "client/24"), "203.0.113.0/24"),
        (("--request", "http://a.b/x"), "/x"),
        (("--request", "/a b"), "203.0.113.5"),
        (("--first-line", "POST /x HTTP/1.1"), "/x"),
        (("--first-line", "EHLO me", "--hash-key", "first-line"), "EHLO me"),
        (("--request", "/x", "--hash-key", "first-line"), "GET /x HTTP/1.1"),
        (("--request", "/x", "--hash-key", "client"), "203.0.113.5"),
    ],
    ids=str,
)
def test_the_key_is_that_of_the_rule(arguments: tuple[str, ...], value: str) -> None:
    assert explained(*HASH, *arguments)["key"]["value"] == value


def test_a_key_from_outside_cannot_obey_the_terminal() -> None:
    flags = ("--first-line", "\x07" + "y" * 200, "--hash-key", "first-line")
    text = invoke("explain", *CLIENT, *HASH, *flags).stdout
    assert "\x07" not in text
    assert max(map(len, text.splitlines())) < 130


@pytest.mark.parametrize("strategy", StrategyName)
def test_every_strategy_can_be_explained(strategy: str) -> None:
    answer = explained("--strategy", strategy)
    keyed = strategy in ("hash", "maglev", "rendezvous")
    assert (answer["keyed"], answer["key"] is not None) == (keyed, keyed)
    assert answer["chosen"] in verdicts(answer)
    text = invoke("explain", *CLIENT, "--strategy", strategy).stdout
    assert ("does not matter" in text) is not keyed
    assert ("In a process that has just started, it goes to" in text) is not keyed


def test_chance_is_the_same_with_the_same_seed() -> None:
    seeds = [str(seed) for seed in range(20)] * 2
    chosen = [explained("--strategy", "random", "--seed", seed)["chosen"] for seed in seeds]
    assert chosen[:20] == chosen[20:]
    assert len(set(chosen)) > 1


# -- wrong use --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--client", "203.0.113.5:80"), "must be an IP address, without a port"),
        (("--client", ""), "must be an IP address, without a port"),
        (("--request", "/", "--first-line", "x"), "say the same: give one of them"),
        (("--listener", "defualt"), 'did you mean "default"?'),
        (("--pool", "defualt"), 'did you mean "default"?'),
        (("--destination", "x", "--strategy", "hash"), "the port is missing"),
        (("--strategy", "hsah"), 'did you mean "hash"?'),
    ],
    ids=str,
)
def test_wrong_use_is_named_and_ends_it_with_2(arguments: tuple[str, ...], message: str) -> None:
    assert message in wrong_use(*arguments)


def test_a_client_is_needed() -> None:
    result = invoke("explain")
    assert result.exit_code == 2
    assert "Missing option '--client'" in result.stderr


def test_a_pool_that_the_listener_does_not_have_is_wrong_use(file: str) -> None:
    error = wrong_use("--config", file, "--listener", "web", "--pool", "db")
    assert "the listener web has the pool web" in error


def test_a_wrong_file_ends_it_with_3(tmp_path: Path) -> None:
    path = tmp_path / "tcplb.toml"
    path.write_text("nonsense = 1\n")
    result = invoke("explain", *CLIENT, "--config", str(path))
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"{path}:1: nonsense" in result.stderr


def test_a_function_that_cannot_be_loaded_ends_it_with_3() -> None:
    result = invoke("explain", *CLIENT, "--strategy", "no_such_module:pick")
    assert result.exit_code == 3
    assert "cannot load the strategy no_such_module:pick" in result.stderr


def test_a_reader_that_has_left_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tcplb", "explain", *CLIENT],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=WAIT,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == b""
