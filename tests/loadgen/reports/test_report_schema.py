"""The JSON is what docs/bench-report.schema.json says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tcplb.loadgen.job import Mode
from tcplb.loadgen.reports import comparison
from tcplb.loadgen.reports.comparison import MEASURES, Comparison
from tcplb.loadgen.reports.report import to_report, to_reports
from tcplb.loadgen.result import RunResult
from tests.loadgen.reports.results import RUN_RESULTS, empty, quick, result, with_chaos

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "docs" / "bench-report.schema.json").read_text("utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)


def problems(report: dict[str, Any], kind: str) -> list[str]:
    """Against one kind: of the whole schema, `oneOf` would only say that none fits."""
    written = json.loads(json.dumps(report, allow_nan=False))
    VALIDATOR.validate(written)
    narrow = Draft202012Validator(SCHEMA | {"oneOf": [{"$ref": f"#/$defs/{kind}"}]})
    return [f"{error.json_path}: {error.message}" for error in narrow.iter_errors(written)]


def schemas(schema: object) -> Iterator[dict[str, Any]]:
    """The schema and all that it is made of."""
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else ():
        yield from schemas(part)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_field_is_described_and_no_other_is_allowed() -> None:
    objects = [schema for schema in schemas(SCHEMA) if "required" in schema]
    assert len(objects) >= 12
    for schema in objects:
        assert schema["additionalProperties"] is False
        assert all(field.get("description") for field in schema["properties"].values())


def test_the_schema_knows_every_mode_and_every_measure() -> None:
    defs = SCHEMA["$defs"]
    assert set(defs["report"]["properties"]["mode"]["enum"]) == set(Mode)
    measures = defs["measure"]["properties"]
    assert measures["measure"]["enum"] == [measure.key for measure in MEASURES]
    assert set(measures["unit"]["enum"]) == {measure.unit for measure in MEASURES}


@pytest.mark.parametrize("made", [result(), empty(), with_chaos(name="c")], ids=["", "empty", "c"])
def test_known_reports_fit(made: RunResult) -> None:
    assert problems(to_report(made), "report") == []


@given(RUN_RESULTS)
@quick
def test_any_report_fits(made: RunResult) -> None:
    assert problems(to_report(made), "report") == []


@given(st.lists(RUN_RESULTS, max_size=2))
@quick
def test_any_set_fits(made: list[RunResult]) -> None:
    assert problems(to_reports(made), "set") == []


@given(st.lists(st.tuples(RUN_RESULTS, RUN_RESULTS), min_size=1, max_size=2))
@quick
def test_any_comparison_fits(made: list[tuple[RunResult, RunResult]]) -> None:
    rounds = [[replace(one, name="a"), replace(other, name="b")] for one, other in made]
    assert problems(comparison.to_report(Comparison(rounds)), "comparison") == []


def test_a_report_with_a_field_more_or_less_does_not_fit() -> None:
    report = to_report(result())
    assert not VALIDATOR.is_valid(report | {"surprise": 1})
    for key in report:
        assert not VALIDATOR.is_valid({name: report[name] for name in report if name != key})


def test_a_number_that_is_a_text_does_not_fit() -> None:
    assert not VALIDATOR.is_valid(to_report(result()) | {"errors": "0"})
