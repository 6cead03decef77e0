"""Candidates that cannot run are skipped by name; the settings they get are what we mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import configs, cores
from bench.candidates import CANDIDATES, ORDER, Candidate, Launch, Place, program
from bench.comparison import Comparison, rotated
from bench.processes import SkippedError
from bench.results import BASES, Results, Skipped
from bench.scenarios import SCENARIOS
from bench.settings import smoke

CONNECT = SCENARIOS[0]


def launch_with(*command: str) -> Candidate:
    return Candidate("strange", "for this test", lambda _: Launch(command), command)


def missing(_: Place) -> Launch:
    return Launch([program("no-such-balancer")])


def skipped(candidate: Candidate, directory: Path) -> list[Skipped]:
    results = Results()
    comparison = Comparison(smoke(), results, directory, lambda _: None)
    comparison.run(CONNECT, [candidate])
    assert results.candidates(CONNECT.name) == []
    return results.skipped


def test_a_missing_program_is_skipped_by_name(tmp_path: Path) -> None:
    candidate = Candidate("strange", "for this test", missing, ["no-such-balancer"])
    assert skipped(candidate, tmp_path) == [
        Skipped("connect", "strange", "no-such-balancer is not installed")
    ]
    with pytest.raises(SkippedError, match="no-such-balancer is not installed"):
        candidate.version()


def test_a_candidate_that_ends_is_skipped_with_its_last_words(tmp_path: Path) -> None:
    candidate = launch_with("sh", "-c", "echo one >&2; echo bad option >&2; exit 2")
    assert skipped(candidate, tmp_path) == [
        Skipped("connect", "strange", "does not start: bad option")
    ]


def test_a_candidate_that_ends_without_a_word_is_skipped_with_its_exit_code(
    tmp_path: Path,
) -> None:
    assert skipped(launch_with("sh", "-c", "exit 3"), tmp_path) == [
        Skipped("connect", "strange", "does not start: exit code 3")
    ]


def test_every_base_is_a_candidate_and_names_are_unique() -> None:
    names = [candidate.name for candidate in CANDIDATES]
    assert set(BASES) <= set(names)
    assert len(set(ORDER)) == len(ORDER)


def test_haproxys_settings_differ_in_what_they_are_called_after() -> None:
    plain = configs.haproxy(1, [2, 3], 100, splice=False, log=False)
    assert "splice" not in plain
    assert "log" not in plain
    assert "    server b3 127.0.0.1:3" in plain.splitlines()
    splicing = configs.haproxy(1, [2, 3], 100, splice=True, log=False)
    assert "    option splice-auto" in splicing.splitlines()
    logging = configs.haproxy(1, [2, 3], 100, splice=False, log=True)
    assert "    option tcplog" in logging.splitlines()


def test_rounds_begin_with_another_candidate_each_time() -> None:
    candidates = CANDIDATES[:3]
    first = [rotated(candidates, number)[0] for number in range(4)]
    assert first == [*candidates, candidates[0]]
    assert set(rotated(candidates, 2)) == set(candidates)
    assert rotated([], 1) == []


def test_balancer_and_load_have_cores_of_this_process() -> None:
    assert cores.BALANCER <= cores.ALL
    assert cores.LOAD <= cores.ALL
