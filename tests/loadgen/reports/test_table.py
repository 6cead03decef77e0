from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.reports.report import to_report
from tcplb.loadgen.reports.table import to_csv
from tcplb.loadgen.result import RunResult
from tests.loadgen.reports.results import (
    RUN_RESULTS,
    TARGET,
    empty,
    job,
    quick,
    result,
    tally,
    times,
)


def rows(*results: RunResult) -> list[dict[str, str]]:
    written = to_csv([to_report(each) for each in results])
    return list(csv.DictReader(io.StringIO(written), strict=True))


def test_there_is_a_line_of_names_and_a_line_a_report() -> None:
    written = to_csv([to_report(result(name="a")), to_report(result(name="b"))])
    names, *others = written.splitlines()
    assert names.startswith("name,target,mode,seconds,requests,requests_per_second,connections,")
    assert [line.partition(",")[0] for line in others] == ["a", "b"]


def test_a_line_has_the_report_s_figures() -> None:
    total = tally([2.0] * 10, bytes_sent=640, connect=times([0.5]), keys=9, keys_moved=4)
    (row,) = rows(result(total, job=job(paths=9), seconds=2.0, interrupted=True))
    assert row["requests_per_second"] == "5.0"
    assert row["bytes_sent"] == "640"
    assert row["bytes_sent_per_second"] == "320.0"
    assert row["latency_p99_9_ms"] == "2.003"
    assert row["connect_p50_ms"] == "0.5007"
    assert (row["keys_seen"], row["keys_moved"]) == ("9", "4")
    assert row["interrupted"] == "true"


def test_what_was_not_measured_is_empty() -> None:
    (row,) = rows(empty())
    unknown = ["name", "error_rate", "latency_p50_ms", "connect_mean_ms", "imbalance", "keys_moved"]
    assert [row[name] for name in unknown] == [""] * len(unknown)


def test_without_a_report_there_is_no_line() -> None:
    assert to_csv([]) == ""


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "＝", " =", "  @"])
def test_no_cell_from_the_user_is_a_formula(begin: str) -> None:
    evil = f'{begin}cmd|" /C calc"!A1'
    target = replace(TARGET, text=evil)
    (row,) = rows(result(name=evil, job=job(target=target)))
    assert row["name"] == row["target"] == f"'{evil}"


def test_a_negative_looking_name_inside_is_left_alone() -> None:
    (row,) = rows(result(name="keep-alive+1, 2"))
    assert row["name"] == "keep-alive+1, 2"


@given(st.lists(RUN_RESULTS, min_size=1, max_size=3))
@quick
def test_any_reports_are_read_back_as_many_lines_of_the_same_columns(
    results: list[RunResult],
) -> None:
    written = to_csv([to_report(each) for each in results])
    assert len(written.splitlines()) == 1 + len(results)
    read = list(csv.reader(io.StringIO(written), strict=True))
    assert {len(row) for row in read} == {len(read[0])}
    assert not any(row[0][:1] in set("=+-@\t\r") - {""} for row in read)
