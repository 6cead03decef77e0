from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given

from tcplb.config.document import paths_of
from tcplb.config.keypath import KeyPath
from tcplb.config.spans import Span, spans_of
from tests.config.toml_texts import documents

TEXT = """\
[[pools.web.backends]] # one\r
  name = "b1"   # beside
weight = 2 \r
[limits]
a = [ 1, { b = [ 2 ] } ]
"""


def piece(text: str, span: Span) -> str:
    return text[span.start : span.end]


def at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


def test_pieces() -> None:
    spans = spans_of(TEXT)
    backend: KeyPath = ("pools", "web", "backends", 0)
    assert {path: piece(TEXT, span) for path, span in spans.headers.items()} == {
        backend: "[[pools.web.backends]]",
        ("limits",): "[limits]",
    }
    assert [piece(TEXT, span) for span in spans.pairs[backend]] == ['name = "b1"', "weight = 2"]
    assert [piece(TEXT, span) for span in spans.pairs["limits", "a", 1]] == ["b = [ 2 ]"]
    assert piece(TEXT, spans.values["limits", "a"]) == "[ 1, { b = [ 2 ] } ]"
    assert piece(TEXT, spans.values["limits", "a", 0]) == "1"


@given(documents())
def test_every_piece_is_the_value_that_it_is_called(text: str) -> None:
    data = tomllib.loads(text)
    spans = spans_of(text)
    for path, span in spans.values.items():
        written = piece(text, span)
        assert repr(tomllib.loads(f"x = {written}")["x"]) == repr(at(data, path))
    headed = {path[:end] for path in spans.headers for end in range(len(path) + 1)}
    for path in paths_of(data):
        # A table that is only mentioned in a dotted key has no piece of its own.
        assert isinstance(at(data, path), dict) or path in spans.values or path in headed
