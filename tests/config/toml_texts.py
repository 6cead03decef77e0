"""Hypothesis strategies for TOML documents written in every way that TOML allows."""

from __future__ import annotations

import json
import re

from hypothesis import strategies as st

KEYS = st.text(alphabet="ab1-_ .\"'#[]={},\n\té\\", max_size=3)
SCALARS = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "true",
        "inf",
        "1979-05-27",
        "1979-05-27 07:32:00",
        "07:32:00.5",
        '""',
        "''",
        '"a # [x] b = 1"',
        '"\\"] \\\\"',
        "'C:\\'",
        "'# ] } ,'",
        '"""\n[x]\na = b\n"""',
        '""""quoted"""""',
        '"""\\"""\n# no comment\n"""',
        '""""""',
        "'''\n[[y]]\nc = '''''",
        "'''it's'''",
        '"""one \\\n   two"""',
    ]
)
SPACES = st.sampled_from(["", " ", "\t ", "  "])
ENDS = st.sampled_from(["\n", " # [a] b = 1\n", "\n\n", "\r\n", "\n  # comment ' \"\n"])
GAPS = st.sampled_from(["", " ", "\n", " # ] comment\n ", "\r\n\t"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A TOML text; tables in tables, arrays of tables, dotted keys, inline tables, comments."""
    lines = draw(st.sampled_from(["", "\n", "# first\n"])) + _table(draw, [], depth=3)
    return lines.rstrip("\r\n") if draw(st.booleans()) else lines


def _table(draw: st.DrawFn, path: list[str], depth: int) -> str:
    """The pairs of the table at `path`, whose header is written already, then its subtables."""
    keys = draw(st.lists(KEYS, unique=True, max_size=4))
    of_pairs = keys[: draw(st.integers(0, len(keys)))] if depth else keys
    text = "".join(_pair(draw, key, depth) + draw(ENDS) for key in of_pairs)
    for key in keys[len(of_pairs) :]:
        text += _subtable(draw, [*path, key], depth - 1)
    return text


def _subtable(draw: st.DrawFn, path: list[str], depth: int) -> str:
    kind = draw(st.sampled_from(["table", "array", "implicit", "late"]))
    if kind == "table":
        return _header(draw, path, "[", "]") + _table(draw, path, depth)
    if kind == "array":
        count = draw(st.integers(1, 3))
        tables = [_header(draw, path, "[[", "]]") + _table(draw, path, depth) for _ in range(count)]
        return "".join(tables)
    inner = [*path, draw(KEYS)]
    text = _header(draw, inner, "[", "]") + _table(draw, inner, depth)
    # The outer header may come after the inner one.
    return text + _header(draw, path, "[", "]") if kind == "late" else text


def _header(draw: st.DrawFn, path: list[str], opening: str, closing: str) -> str:
    return f"{draw(SPACES)}{opening}{_dotted(draw, path)}{closing}{draw(ENDS)}"


def _pair(draw: st.DrawFn, key: str, depth: int) -> str:
    more = draw(st.just([]) | st.lists(KEYS, max_size=2))
    return f"{_dotted(draw, [key, *more])}={draw(SPACES)}{_value(draw, depth)}"


def _dotted(draw: st.DrawFn, path: list[str]) -> str:
    return ".".join(f"{draw(SPACES)}{_key(draw, key)}{draw(SPACES)}" for key in path)


def _key(draw: st.DrawFn, key: str) -> str:
    forms = [json.dumps(key), json.dumps(key, ensure_ascii=False)]
    if re.fullmatch(r"[A-Za-z0-9_-]+", key):
        forms.append(key)
    if "'" not in key and "\n" not in key:
        forms.append(f"'{key}'")
    return draw(st.sampled_from(forms))


def _value(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.sampled_from(["scalar", "scalar", "array", "inline"])) if depth else "scalar"
    if kind == "array":
        items = [_value(draw, depth - 1) for _ in range(draw(st.integers(0, 3)))]
        return _array(draw, items)
    if kind == "inline":
        keys = draw(st.lists(KEYS, unique=True, max_size=3))
        return "{" + ",".join(_pair(draw, key, depth - 1) for key in keys) + "}"
    return draw(SCALARS)


def _array(draw: st.DrawFn, items: list[str]) -> str:
    text = "".join(f"{draw(GAPS)}{item}{draw(GAPS)}," for item in items)
    last_comma = draw(st.booleans())
    if items and not last_comma:
        text = text[:-1]
    return f"[{text}{draw(GAPS)}]"
