"""Gates for a build: what is expected of a run, as in ``p99<20ms``, and whether it was met."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.metrics import KINDS, Kind, Metrics

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

_DECIMAL_UNITS = {"": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6)}
_UNITS: Mapping[Kind, Mapping[str, Decimal]] = {
    Kind.TIME: {
        "us": Decimal("1e-6"),
        "ms": Decimal("1e-3"),
        "s": Decimal(1),
        "m": Decimal(60),
    },
    Kind.COUNT: _DECIMAL_UNITS,
    Kind.RATE: _DECIMAL_UNITS,
    Kind.BYTES: {
        "": Decimal(1),
        "kB": Decimal(10**3),
        "KiB": Decimal(2**10),
        "MB": Decimal(10**6),
        "MiB": Decimal(2**20),
        "GB": Decimal(10**9),
        "GiB": Decimal(2**30),
    },
    Kind.RATIO: {"": Decimal(1), "%": Decimal("0.01")},
}

_ALIASES: Mapping[str, str] = {
    "rps": "requests_per_second",
    **{name.replace("99_9", "99.9"): name for name in KINDS if "99_9" in name},
}

_EXPECTATION = re.compile(r"\s*([^<>=!\s]+)\s*([<>=!]+)\s*([^<>=!]*)", re.ASCII)
_VALUE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%]*)", re.ASCII)

_WRITTEN = "write METRIC OP VALUE, like p99<20ms or errors==0"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One gate: a metric, an operator (as written), and a bound in the metric's base unit."""

    text: str
    """As the user wrote it, without spaces."""
    metric: str
    operator: str
    bound: float
    unit: str = ""
    """As written; "" without one."""

    def check(self, metrics: Metrics) -> Verdict:
        """Hold it against what was measured. What was not measured does not meet it."""
        measured = metrics[self.metric]
        met = measured is not None and _OPERATORS[self.operator](measured, self.bound)
        return Verdict(self, measured, met)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an expectation was met."""

    expectation: Expectation
    measured: float | None
    """In the metric's base unit; None was not measured."""
    met: bool

    @property
    def text(self) -> str:
        """One line, such as ``p99<20ms: 31.2 ms, missed``."""
        result = "met" if self.met else "missed"
        return f"{self.expectation.text}: {self._measured()}, {result}"

    def _measured(self) -> str:
        if self.measured is None:
            return "not measured"
        bound = self.expectation.bound
        shown = self._shown(self.measured)
        # Few digits could hide why it was missed: "p99<20ms: 20.0 ms".
        if self.measured == bound or shown != self._shown(bound):
            return shown
        return f"just {'over' if self.measured > bound else 'under'} {shown}"

    def _shown(self, value: float) -> str:
        kind, unit = KINDS[self.expectation.metric], self.expectation.unit
        if kind is Kind.TIME:
            return figures.time(value * 1000)
        if kind is Kind.COUNT:
            return figures.count(value)
        if kind is Kind.RATE or not unit:
            return figures.number(value)
        # MB beside MiB would be hard to compare.
        return f"{figures.number(value / float(_UNITS[kind][unit]))} {unit}"


def parse(text: str) -> Expectation:
    """Return the expectation that the user wrote: ``METRIC OP VALUE``, with spaces or without.

    A time needs a unit (us, ms, s, m). Counts and rates may have k or M, bytes kB, KiB, MB, MiB, GB
    or GiB, and ratios %. Raises ValueError, with a text for the user.
    """
    match = _EXPECTATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an expectation; {_WRITTEN}")
    name, sign, value = match[1], match[2], match[3].strip()
    metric = _metric(name)
    if sign not in _OPERATORS:
        raise ValueError(f"{text!r} has {sign!r}, which is none of {' '.join(_OPERATORS)}")
    bound, unit = _bound(value, KINDS[metric], text)
    return Expectation("".join(text.split()), metric, sign, bound, unit)


def _metric(name: str) -> str:
    metric = _ALIASES.get(name, name)
    if metric in KINDS:
        return metric
    close = difflib.get_close_matches(name, [*KINDS, *_ALIASES], n=3)
    if close:
        raise ValueError(f"{name!r} is not a metric; did you mean {' or '.join(close)}?")
    raise ValueError(f"{name!r} is not a metric; there are {', '.join(KINDS)}")


def _bound(value: str, kind: Kind, text: str) -> tuple[float, str]:
    """Return the bound in the base unit, and the unit that it was written in."""
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ValueError(f"{text!r} has no number (20, 1.5) after its operator; {_WRITTEN}")
    number, unit = match.groups()
    units = _UNITS[kind]
    if unit in units:
        # Decimal, because 0.1 has no exact float: 0.1% is to be the float nearest to 0.001.
        return float(Decimal(number) * units[unit]), unit
    if not unit:
        raise ValueError(f"{text!r} needs a unit: {', '.join(units)}")
    known = ", ".join(each or "none" for each in units)
    raise ValueError(f"{text!r} has the unit {unit!r}; the units of a {kind.value}: {known}")
