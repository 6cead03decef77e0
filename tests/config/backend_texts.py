"""Hypothesis strategies for backends, changes to them, and files that have them in every form."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from tcplb.config.changes import (
    AddBackend,
    RemoveBackend,
    RuntimeChange,
    SetState,
    SetWeight,
)
from tcplb.config.models import BackendConfig
from tcplb.config.runtime_change import STATES

NAMES = [*"abcdef", "127.0.0.1:1", "x.y"]
STATES_OF_BACKENDS = st.sampled_from(STATES)
WEIGHTS = st.integers(0, 256)
Table = dict[str, object]


@st.composite
def backend_tables(draw: st.DrawFn, name: str) -> Table:
    """A backend called `name`, as a file has it."""
    table: Table = {"address": f"127.0.0.1:{draw(st.integers(1, 3))}"}
    if name != table["address"]:
        table = {"name": name, **table}
    optional = {
        "weight": WEIGHTS,
        "state": STATES_OF_BACKENDS,
        "max_connections": st.integers(0, 9),
        "backup": st.booleans(),
        "check_port": st.integers(0, 9),
    }
    rest = {key: draw(values) for key, values in optional.items() if draw(st.booleans())}
    return {**table, **rest}


@st.composite
def backends(draw: st.DrawFn, names: st.SearchStrategy[str] | None = None) -> BackendConfig:
    name = draw(names or st.sampled_from(NAMES))
    return BackendConfig.model_validate(draw(backend_tables(name)))


@st.composite
def pools_of_tables(draw: st.DrawFn, size: int = 4) -> dict[str, list[Table]]:
    """The backends of one or two pools."""
    names = st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=size)
    pools = draw(st.sampled_from([["web"], ["web", "db"], ["db", "web.x"]]))
    return {pool: [draw(backend_tables(name)) for name in draw(names)] for pool in pools}


def changes_of(pools: list[str]) -> st.SearchStrategy[RuntimeChange]:
    """A change of one of the pools, which need not fit."""
    pool, name = st.sampled_from(pools), st.sampled_from(NAMES)
    return st.one_of(
        st.builds(SetState, pool, name, STATES_OF_BACKENDS),
        st.builds(SetWeight, pool, name, WEIGHTS),
        st.builds(AddBackend, pool, backends()),
        st.builds(RemoveBackend, pool, name),
    )


@dataclass(frozen=True)
class Written:
    """A file, its pools, and the comments in it that no change may touch."""

    text: str
    pools: dict[str, list[Table]]
    comments: list[str]


@st.composite
def written_files(draw: st.DrawFn) -> Written:
    """A file with pools, each in one of the forms that TOML has for an array of tables."""
    pools = draw(pools_of_tables())
    parts = [_pool(draw, name, tables) for name, tables in pools.items()]
    first = next(iter(pools))
    parts.append(f"[[listeners]]\nbind = ':9'\npool = {json.dumps(first)}\n")
    if draw(st.booleans()):
        # The backends of a pool need not stand together.
        parts.append("[[listeners]]\nbind = ':10'\n" + f"pool = {json.dumps(first)}\n")
    # Without a header, keys belong to the one above.
    dotted = [part for part in parts if part.startswith("pools")]
    headed = draw(st.permutations([part for part in parts if part not in dotted]))
    text = "".join([*dotted, *headed])
    lines = []
    for number, line in enumerate(text.split("\n")):
        lines.append(line.replace("KEEP", f"keep {number}"))
    comments = [line for line in lines if "# keep" in line]
    text = draw(st.sampled_from(["\n", "\r\n"])).join(lines)
    text = text.rstrip("\r\n") if draw(st.booleans()) else text
    return Written(draw(st.sampled_from(["", "\ufeff"])) + text, pools, comments)


def _pool(draw: st.DrawFn, name: str, tables: list[Table]) -> str:
    form = draw(st.sampled_from(["headers", "line", "lines", "dotted", "commas first"]))
    key = name if name.isalpha() else json.dumps(name)
    if form == "headers":
        return _headers(draw, key, tables)
    items = [_in_braces(draw, table) for table in tables]
    match form:
        case "lines":
            end = draw(st.sampled_from([",\n]", ", # one\n]", "\n]", " # last\n]", " ]"]))
            between = draw(st.sampled_from([",\n  ", ", # one\n  ", ",\n\n  # it\n  "]))
            array = "[\n  # KEEP\n\n  " + between.join(items) + end
        case "commas first":
            array = "[ " + "  # one\n , ".join(items) + "  # last\n ]"
        case _:
            space = draw(st.sampled_from(["", " "]))
            array = f"[{space}{f',{space}'.join(items)}{space}]"
    if form == "dotted":
        return f"pools.{key}.backends = {array} # KEEP\n"
    return f"[pools . {key}] # KEEP\nbackends={array}\n[pools.{key}.eject]\nfailures=3\n"


def _headers(draw: st.DrawFn, key: str, tables: list[Table]) -> str:
    gap = st.sampled_from(["", "\n", "\n# KEEP\n\n", "\n# its own\n# lines\n", " # KEEP\n\n\n"])
    text = f"[pools.{key}]\nstrategy = '''\nhash''' # KEEP\n" if draw(st.booleans()) else ""
    indent = draw(st.sampled_from(["", "  "]))
    for table in tables:
        text += f"{draw(gap)}{indent}[[ pools.{key}.backends ]]\n"
        for name, value in table.items():
            end = draw(st.sampled_from(["", " # beside", "\n# within", "\n"]))
            text += f"{indent}{name} = {_value(draw, value)}{end}\n"
    return text + draw(gap)


def _in_braces(draw: st.DrawFn, table: Table) -> str:
    pairs = [f"{name}={_value(draw, value)}" for name, value in table.items()]
    return draw(st.sampled_from(["{{{}}}", "{{ {} }}"])).format(", ".join(pairs))


def _value(draw: st.DrawFn, value: object) -> str:
    if isinstance(value, str):
        return draw(st.sampled_from(['"{}"', "'{}'", "'''{}'''"])).format(value)
    return json.dumps(value)
