from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.invoke import invoke

HASH = ("--strategy", "hash")
SECOND = "127.0.0.1:8082"

FILE = """
[[listeners]]
pool = "web"
[pools.web]
strategy = "hash"
backends = [{name = "a", address = "h:1"}, {name = "b", address = "h:2"}]
[pools.db]
strategy = "first"
backends = [{name = "d", address = "h:3"}]
"""


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path, "tcplb.toml", FILE)


def planned(*arguments: str) -> dict[str, Any]:
    result = invoke("plan", "--format", "json", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def only(*arguments: str) -> dict[str, Any]:
    (pool,) = planned(*arguments)["pools"]
    assert isinstance(pool, dict)
    return pool


def wrong_use(*arguments: str) -> str:
    result = invoke("plan", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def text(*arguments: str) -> str:
    result = invoke("plan", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_whole_of_a_text() -> None:
    assert text(*HASH, "--remove", SECOND, "--keys", "10000") == (
        "pool default, strategy hash\n"
        "25.19 % ± 0.85 % of the keys move; at least 25.19 % have to\n"
        "(10,000 keys looked at; with a confidence of 95 %, a share is within ± 0.98 % at most)\n"
        "\n"
        "backend         weight       by weight                keys\n"
        "127.0.0.1:8081       1  → 1    25.00 %  → 33.33 %  25.22 %  → 32.34 %\n"
        "127.0.0.1:8082       1  → –    25.00 %        → –  25.19 %   → 0.00 %\n"
        "127.0.0.1:8083       1  → 1    25.00 %  → 33.33 %  22.07 %  → 33.69 %\n"
        "127.0.0.1:8084       1  → 1    25.00 %  → 33.33 %  27.52 %  → 33.97 %\n"
        "\n"
        "from            to               keys   of all  of its own\n"
        "127.0.0.1:8082  127.0.0.1:8083  1,162  11.62 %     46.13 %\n"
        "127.0.0.1:8082  127.0.0.1:8081    712   7.12 %     28.27 %\n"
        "127.0.0.1:8082  127.0.0.1:8084    645   6.45 %     25.61 %\n"
    )


def test_the_whole_of_a_json() -> None:
    backends = ("--backend", "a=h:1", "--backend", "b=h:2")
    assert planned(*HASH, *backends, "--remove", "b", "--keys", "1000") == {
        "pools": [
            {
                "pool": "default",
                "strategy": {"before": "hash", "after": "hash"},
                "keys": {
                    "looked_at": 1000,
                    "moved": 0.491,
                    "moved_error": pytest.approx(0.0310, abs=0.0001),
                    "least": 0.491,
                },
                "backends": [
                    {
                        "backend": "a",
                        "weight_share": {"before": 0.5, "after": 1.0},
                        "key_share": {"before": 0.509, "after": 1.0},
                    },
                    {
                        "backend": "b",
                        "weight_share": {"before": 0.5, "after": None},
                        "key_share": {"before": 0.491, "after": 0.0},
                    },
                ],
                "moves": [{"from": "b", "to": "a", "share": 0.491}],
                "remark": None,
            }
        ],
        "removed_pools": [],
        "added_pools": [],
    }


def test_who_leaves_moves_its_own_keys_and_no_others() -> None:
    pool = only(*HASH, "--remove", SECOND)
    assert {move["from"] for move in pool["moves"]} == {SECOND}
    assert pool["keys"]["looked_at"] == 100_000
    assert pool["keys"]["moved"] == pool["keys"]["least"]
    assert sum(move["share"] for move in pool["moves"]) == pytest.approx(pool["keys"]["moved"])


@pytest.mark.parametrize("strategy", ["hash", "maglev", "rendezvous"])
def test_more_weight_takes_keys_from_the_others(strategy: str) -> None:
    pool = only("--strategy", strategy, "--weight", f"{SECOND}=3", "--keys", "20000")
    shares = {one["backend"]: one for one in pool["backends"]}
    assert shares[SECOND]["weight_share"] == {"before": 0.25, "after": 0.5}
    assert shares[SECOND]["key_share"]["after"] == pytest.approx(0.5, abs=0.06)
    assert pool["keys"]["least"] <= pool["keys"]["moved"] < 2 * pool["keys"]["least"]


def test_an_added_backend_is_written_as_in_serve() -> None:
    pool = only(*HASH, "--add", "new=h:9,weight=2", "--add", "h:8,state=draining", "--keys", "5000")
    shares = {one["backend"]: one for one in pool["backends"]}
    assert list(shares)[-2:] == ["new", "h:8"]
    assert shares["new"]["weight_share"] == {"before": None, "after": pytest.approx(1 / 3)}
    assert shares["h:8"]["weight_share"] == {"before": None, "after": 0}
    assert shares["h:8"]["key_share"]["after"] == 0
    assert {move["to"] for move in pool["moves"]} == {"new"}


def test_a_backend_may_be_replaced_by_one_of_its_name(file: str) -> None:
    pool = only(
        "--config", file, "--pool", "web", "--remove", "a", "--add", "a=other:1", "--keys", "500"
    )
    assert pool["keys"]["moved"] == 0
    assert pool["moves"] == []


def test_keys_that_nobody_takes_go_nowhere(file: str) -> None:
    edits = ("--weight", "a=0", "--weight", "b=0", "--keys", "100")
    pool = only("--config", file, "--pool", "web", *edits)
    assert {move["to"] for move in pool["moves"]} == {None}
    assert pool["keys"]["moved"] == 1
    assert "(nobody)" in text("--config", file, "--pool", "web", *edits)


def test_rendezvous_with_many_backends_looks_at_fewer_keys() -> None:
    backends = [flag for port in range(1, 101) for flag in ("--backend", f"h:{port}")]
    change = ("--strategy", "rendezvous", *backends, "--remove", "h:7")
    pool = only(*change)
    assert pool["keys"]["looked_at"] == 3_000_000 // 199
    assert only(*change, "--keys", "50")["keys"]["looked_at"] == 50


@pytest.mark.parametrize("strategy", ["round-robin", "least-connections", "random", "first"])
def test_without_keys_there_are_shares_by_weight(strategy: str) -> None:
    arguments = ("--strategy", strategy, "--remove", SECOND)
    pool = only(*arguments)
    assert (pool["keys"], pool["moves"]) == (None, None)
    assert pool["remark"].startswith("Nothing is tied to a key")
    assert [one["weight_share"] for one in pool["backends"]] == [
        {"before": 0.25, "after": pytest.approx(1 / 3)},
        {"before": 0.25, "after": None},
        {"before": 0.25, "after": pytest.approx(1 / 3)},
        {"before": 0.25, "after": pytest.approx(1 / 3)},
    ]
    shown = text(*arguments)
    assert "Nothing is tied to a key" in shown
    assert "25.00 %" in shown


# -- two files --------------------------------------------------------------------------------


def test_two_files_are_compared_pool_by_pool(file: str, tmp_path: Path) -> None:
    new = FILE.replace('{name = "b", address = "h:2"}', '{name = "c", address = "h:2"}')
    new = new.replace("[pools.db]", "[pools.cache]")
    answer = planned(file, write(tmp_path, "new.toml", new), "--keys", "1000")
    assert (answer["removed_pools"], answer["added_pools"]) == (["db"], ["cache"])
    (pool,) = answer["pools"]
    assert pool["pool"] == "web"
    assert [one["backend"] for one in pool["backends"]] == ["a", "b", "c"]
    assert pool["keys"]["moved"] > 0
    shown = text(file, str(tmp_path / "new.toml"), "--keys", "1000")
    assert shown.endswith("pool db is removed\npool cache is added\n")


def test_of_two_files_one_pool_may_be_wanted(file: str) -> None:
    answer = planned(file, file, "--pool", "db")
    assert [pool["pool"] for pool in answer["pools"]] == ["db"]
    assert [pool["pool"] for pool in planned(file, file, "--keys", "10")["pools"]] == ["web", "db"]


@pytest.mark.parametrize(
    ("old", "new", "remark"),
    [
        ('"hash"', '"first"', "Nothing is tied to a key after the change; before it, keys are."),
        ('"first"', '"hash"', "Nothing is tied to a key before the change; after it, keys are."),
    ],
)
def test_a_change_of_the_strategy_is_told(
    file: str, tmp_path: Path, old: str, new: str, remark: str
) -> None:
    changed = write(tmp_path, "new.toml", FILE.replace(old, new))
    pools = planned(file, changed, "--keys", "10")["pools"]
    (pool,) = (one for one in pools if one["strategy"]["before"] != one["strategy"]["after"])
    assert pool["remark"] == remark
    assert pool["keys"] is None
    shown = text(file, changed, "--keys", "10")
    assert f"strategy {old[1:-1]}, then {new[1:-1]}\n{remark}" in shown


def test_another_strategy_with_keys_moves_them(file: str, tmp_path: Path) -> None:
    changed = write(tmp_path, "new.toml", FILE.replace('"hash"', '"maglev"'))
    pool = only(file, changed, "--pool", "web", "--keys", "2000")
    assert pool["keys"]["moved"] == pytest.approx(0.5, abs=0.1)
    assert pool["keys"]["least"] < 0.1


def test_another_hash_key_is_told(file: str, tmp_path: Path) -> None:
    new = FILE.replace('strategy = "hash"', 'strategy = "hash"\nhash_key = "client/24"')
    pool = only(file, write(tmp_path, "new.toml", new), "--pool", "web", "--keys", "10")
    assert pool["remark"].startswith("The hash key changes from auto to client/24:")


def test_two_files_are_judged_without_the_environment(file: str) -> None:
    environment = {"TCPLB_STRATEGY": "nonsense"}
    result = invoke("plan", file, file, "--keys", "10", environment=environment)
    assert result.exit_code == 0


# -- wrong use --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no change is given"),
        (("--remove", "127.0.0.1:808"), 'did you mean "127.0.0.1:8084"?'),
        (("--weight", "127.0.0.1:808=2"), 'did you mean "127.0.0.1:8084"?'),
        (("--weight", SECOND), "must be BACKEND=N"),
        (("--weight", f"{SECOND}=257"), "must be at most 256 (got 257)"),
        (("--add", SECOND), f"the pool has a backend called {SECOND} already"),
        (("--add", "h"), "--add: address: must be HOST:PORT"),
        (("--add", "h:1,weight=300"), "--add: weight: must be"),
        (("--add", "h:1,wieght=3"), 'did you mean "weight=N"?'),
        (("--add", "x=h:1", "--add", "x=h:2"), "--add"),
        (("--remove", "a", "--backend", "a=h:1"), "would leave the pool without a backend"),
        (("--pool", "defualt", "--remove", SECOND), 'did you mean "default"?'),
        (("--keys", "0", "--remove", SECOND), "0 is not in the range"),
        (("no.toml",), "give two files"),
        (("no.toml", "no.toml", "no.toml"), "give two files"),
        (("no.toml", "no.toml", "--remove", "a"), "--remove does not go with two files"),
        (("no.toml", "no.toml", "--strategy", "hash"), "--strategy does not go with two files"),
    ],
    ids=str,
)
def test_wrong_use_is_named_and_ends_it_with_2(arguments: tuple[str, ...], message: str) -> None:
    assert message in wrong_use(*arguments)


def test_of_several_pools_the_one_to_change_has_to_be_said(file: str) -> None:
    assert "several pools (web, db)" in wrong_use("--config", file, "--remove", "a")
    assert 'did you mean "web"?' in wrong_use(file, file, "--pool", "wbe")


def test_a_wrong_file_ends_it_with_3(file: str, tmp_path: Path) -> None:
    wrong = write(tmp_path, "wrong.toml", "nonsense = 1\n")
    for arguments in ((file, wrong), ("--config", wrong, "--remove", "a")):
        result = invoke("plan", *arguments)
        assert (result.exit_code, result.stdout) == (3, "")
        assert f"{wrong}:1: nonsense" in result.stderr
