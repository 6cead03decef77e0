"""The settings as they were written, before they are checked: plain values and their origins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tcplb.config.keypath import KeyPath, format_path
from tcplb.config.lines import nearest
from tcplb.config.wording import printable
from tcplb.errors import Problem

AFTER_THE_FILE = 1_000_000_000  # larger than any line number: problems in the file come first


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written.

    `text` is what users see: ``tcplb.toml:11``, ``--backend``. Problems are told in the `order` of
    their origins, which is a line of the file, or at least `AFTER_THE_FILE` for a flag or a
    variable. `base` is how many steps of a path `text` stands for already: a problem with the
    value of ``--idle-timeout`` need not name the path as well.
    """

    text: str
    order: int
    base: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at `path`; `origin` where it is not that of the value there."""

    path: KeyPath
    message: str
    origin: Origin | None = None


@dataclass(slots=True)
class Document:
    """Settings in the form that `tomllib` gives, which may still be of any shape.

    `origins` has the paths of all values that somebody wrote; what is not in it is a default.
    """

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def set(self, path: KeyPath, value: object, origin: Origin) -> None:
        """Put `value` at `path`, making tables on the way.

        Does nothing if something on the way has another shape: checking will report that.
        """
        table: Any = self.data
        for step in path[:-1]:
            if not _may_hold(table, step):
                return
            table = table.setdefault(step, {}) if isinstance(table, dict) else table[step]
        if not _may_hold(table, path[-1]):
            return
        table[path[-1]] = value
        self.forget(path)
        self.origins |= {(*path, *rest): origin for rest in paths_of(value)}

    def forget(self, path: KeyPath) -> None:
        """Drop the origins of the value at `path` and of all it holds."""
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]

    def drop(self, path: KeyPath) -> None:
        """Take the value at `path` out of its table, where it has to be."""
        table: Any = self.get(path[:-1])
        del table[path[-1]]
        self.forget(path)

    def get(self, path: KeyPath) -> object:
        """The value at `path`; None if there is none."""
        value: Any = self.data
        for step in path:
            if not _may_hold(value, step):
                return None
            value = value.get(step) if isinstance(value, dict) else value[step]
        return value

    def is_of_flag(self, path: KeyPath) -> bool:
        """Whether the value at `path` is from a flag or a variable, and not from the file."""
        origin = self.origins.get(path)
        return origin is not None and origin.order >= AFTER_THE_FILE

    def tables(self, *path: str) -> list[tuple[str | int, dict[str, Any]]]:
        """The tables in the table or array at `path`, with their keys or positions there.

        Whatever has another shape is left out.
        """
        value: Any = self.get(path)
        entries = value.items() if isinstance(value, dict) else enumerate(_as_list(value))
        return [(step, entry) for step, entry in entries if isinstance(entry, dict)]

    def expand(self, pattern: KeyPath) -> list[KeyPath]:
        """The paths that `pattern` means: ``"*"`` stands for every table in a table or array."""
        if "*" not in pattern:
            return [pattern]
        star = pattern.index("*")
        before = [str(step) for step in pattern[:star]]
        return [(*before, step, *pattern[star + 1 :]) for step, _ in self.tables(*before)]

    def problems(self, findings: list[Finding]) -> list[Problem]:
        """The findings for the user to read, in the order in which the values were written."""
        placed = [(finding.origin or self._origin(finding.path), finding) for finding in findings]
        placed.sort(key=lambda pair: pair[0].order)
        problems = [
            Problem(origin.text, format_path(finding.path[origin.base :]), finding.message)
            for origin, finding in placed
        ]
        # A flag that sets every listener would be reported for each of them.
        return list(dict.fromkeys(problems))

    def _origin(self, path: KeyPath) -> Origin:
        known = nearest(path, self.origins)
        return Origin("", 0) if known is None else self.origins[known]


def paths_of(value: object) -> Iterator[KeyPath]:
    """The paths of `value` itself, ``()``, and of everything in it."""
    yield ()
    entries: Any = value.items() if isinstance(value, dict) else enumerate(_as_list(value))
    for step, entry in entries:
        for rest in paths_of(entry):
            yield (step, *rest)


def file_origin(name: str, line: int) -> Origin:
    """Line `line`, from 1, of the file `name`."""
    return Origin(f"{printable(name)}:{line}", line)


def _may_hold(table: object, step: str | int) -> bool:
    if isinstance(step, str):
        return isinstance(table, dict)
    return isinstance(table, list) and step < len(table)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
