from __future__ import annotations

import pytest

from tcplb.config.document import Document, Finding, Origin, file_origin, paths_of
from tcplb.errors import Problem

FLAG = Origin("--flag", 100)


def test_set_makes_tables_and_notes_the_origin_of_all_it_sets() -> None:
    document = Document()
    document.set(("a", "b"), [{"c": 1}], FLAG)
    assert document.data == {"a": {"b": [{"c": 1}]}}
    assert document.origins == {
        ("a", "b"): FLAG,
        ("a", "b", 0): FLAG,
        ("a", "b", 0, "c"): FLAG,
    }


def test_set_forgets_the_origins_of_what_was_there() -> None:
    old = file_origin("f", 1)
    document = Document({"a": {"b": 1}, "c": 2}, {("a",): old, ("a", "b"): old, ("c",): old})
    document.set(("a",), 5, FLAG)
    assert document.data == {"a": 5, "c": 2}
    assert document.origins == {("a",): FLAG, ("c",): old}


@pytest.mark.parametrize("data", [{"a": 5}, {"a": {"b": "x"}}, {"a": []}, {"a": {"b": []}}])
def test_set_leaves_what_is_not_a_table(data: dict[str, object]) -> None:
    document = Document(dict(data))
    document.set(("a", "b", "c"), 1, FLAG)
    assert document.data == data
    assert document.origins == {}


def test_set_leaves_an_array_that_is_too_short_or_none() -> None:
    document = Document({"a": [], "b": {}})
    document.set(("a", 0), 1, FLAG)
    document.set(("b", 0), 1, FLAG)
    assert document == Document({"a": [], "b": {}})


def test_tables_leaves_out_what_is_not_a_table() -> None:
    document = Document({"a": [{"x": 1}, 2, {}], "b": {"p": {}, "q": 3}, "c": 4})
    assert document.tables("a") == [(0, {"x": 1}), (2, {})]
    assert document.tables("b") == [("p", {})]
    assert document.tables("c") == []
    assert document.tables("c", "d", "e") == []


def test_expand() -> None:
    document = Document({"a": [{}, 2, {}], "b": {"p": {}}})
    assert document.expand(("a", "x")) == [("a", "x")]
    assert document.expand(("a", "*", "x")) == [("a", 0, "x"), ("a", 2, "x")]
    assert document.expand(("b", "*", "y", "z")) == [("b", "p", "y", "z")]


def test_problems_come_in_the_order_of_their_origins_and_once() -> None:
    document = Document(
        origins={
            ("a",): file_origin("f", 2),
            ("b",): file_origin("f", 10),
            ("c", "x"): Origin("--c", 99, base=2),
            ("d", "x"): Origin("--c", 99, base=2),
        }
    )
    findings = [
        Finding(("c", "x"), "bad"),
        Finding(("d", "x"), "bad"),
        Finding(("b",), "worse"),
        Finding(("c",), "nobody wrote this"),
        Finding(("a", "y"), "missing"),
        Finding(("z",), "elsewhere", FLAG),
    ]
    assert document.problems(findings) == [
        Problem("", "c", "nobody wrote this"),
        Problem("f:2", "a.y", "missing"),
        Problem("f:10", "b", "worse"),
        Problem("--c", "", "bad"),
        Problem("--flag", "z", "elsewhere"),
    ]


def test_paths_of() -> None:
    assert list(paths_of({"a": [1, {"b": 2}]})) == [
        (),
        ("a",),
        ("a", 0),
        ("a", 1),
        ("a", 1, "b"),
    ]
