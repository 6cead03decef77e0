from __future__ import annotations

import operator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcplb.loadgen.reports.expect import Expectation, parse
from tcplb.loadgen.reports.metrics import KINDS, Kind

OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
UNITS = {
    Kind.TIME: "s",
    Kind.COUNT: "k",
    Kind.RATE: "M",
    Kind.BYTES: "KiB",
    Kind.RATIO: "%",
}


def text_of(expectation: str, measured: float | None) -> str:
    wanted = parse(expectation)
    return wanted.check({wanted.metric: measured}).text


# -- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metric", "sign", "bound"),
    [
        ("p99<20ms", "p99", "<", 0.02),
        ("p99 < 20 ms", "p99", "<", 0.02),
        (" p99\t<20ms\n", "p99", "<", 0.02),
        ("p99.9<=0.1s", "p99_9", "<=", 0.1),
        ("p99_9<=100us", "p99_9", "<=", 0.0001),
        ("connect_p99.9<1m", "connect_p99_9", "<", 60.0),
        ("first_byte_p99.9<1m", "first_byte_p99_9", "<", 60.0),
        ("rps>=10k", "requests_per_second", ">=", 10_000),
        ("requests_per_second>1.5M", "requests_per_second", ">", 1_500_000),
        ("errors==0", "errors", "==", 0),
        ("errors!=1", "errors", "!=", 1),
        ("error_rate<0.1%", "error_rate", "<", 0.001),
        ("error_rate<0.001", "error_rate", "<", 0.001),
        ("imbalance<1.2", "imbalance", "<", 1.2),
        ("imbalance<120%", "imbalance", "<", 1.2),
        ("bytes_sent>7", "bytes_sent", ">", 7),
        ("bytes_received_per_second>100MiB", "bytes_received_per_second", ">", 100 * 2**20),
        ("bytes_sent>1kB", "bytes_sent", ">", 1000),
        ("bytes_sent>1KiB", "bytes_sent", ">", 1024),
        ("bytes_sent>1MB", "bytes_sent", ">", 10**6),
        ("bytes_sent>1GB", "bytes_sent", ">", 10**9),
        ("bytes_sent>1GiB", "bytes_sent", ">", 2**30),
        ("slowest_return<5s", "slowest_return", "<", 5),
    ],
)
def test_what_is_expected(text: str, metric: str, sign: str, bound: float) -> None:
    wanted = parse(text)
    assert (wanted.metric, wanted.operator, wanted.bound) == (metric, sign, bound)
    assert wanted.text == "".join(text.split())


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(OPERATORS)), st.integers(0, 999))
def test_every_metric_with_every_operator(metric: str, sign: str, number: int) -> None:
    wanted = parse(f"{metric}{sign}{number}{UNITS[KINDS[metric]]}")
    assert (wanted.metric, wanted.operator) == (metric, sign)
    assert (wanted.bound == 0) is (number == 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not an expectation; write METRIC OP VALUE, like p99<20ms or errors==0"),
        ("p99", "'p99' is not an expectation"),
        ("<20ms", "'<20ms' is not an expectation"),
        ("p99<20ms<30ms", "is not an expectation"),
        ("p99 is<20ms", "is not an expectation"),
        ("p99<", "'p99<' has no number"),
        ("p99<ms", "has no number"),
        ("p99<-1ms", "has no number"),
        ("p99<1e3ms", "has no number"),
        ("p99<1.ms", "has no number"),
        ("p99<١ms", "has no number"),
        ("p99<nan", "has no number"),
        ("p99=20ms", "'p99=20ms' has '=', which is none of < <= > >= == !="),
        ("p99=<20ms", "has '=<', which is none of"),
        ("p99<20", "'p99<20' needs a unit: us, ms, s, m"),
        ("p99<20h", "has the unit 'h'; the units of a time: us, ms, s, m"),
        ("errors<1ms", "has the unit 'ms'; the units of a count: none, k, M"),
        ("rps>1kB", "has the unit 'kB'; the units of a rate: none, k, M"),
        ("bytes_sent>1k", "the units of a number of bytes: none, kB, KiB, MB, MiB, GB, GiB"),
        ("error_rate<1ms", "the units of a ratio: none, %"),
        ("error_rat<1%", "'error_rat' is not a metric; did you mean error_rate"),
        ("p98<1ms", "'p98' is not a metric; did you mean p99"),
        ("p99.8<1ms", "did you mean p99.9"),
        ("P99<1ms", "'P99' is not a metric"),
        ("weather<1ms", "'weather' is not a metric; there are p50, p90, p99, p99_9, max, mean,"),
        ("p99\x1b[31m<1ms", r"'p99\x1b[31m' is not a metric"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at below
        parse(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text() | st.from_regex(r"[a-z0-9_.]{0,8}[<>=!]{0,3}[0-9.]{0,400}[a-zA-Z%]{0,3}"))
@example("errors<" + "9" * 5000)
@example("errors\ud800<1")
def test_whatever_a_user_writes_is_read_or_refused(text: str) -> None:
    try:
        wanted = parse(text)
    except ValueError:
        return
    verdict = wanted.check({wanted.metric: 1.0}).text
    assert verdict.startswith(wanted.text)
    assert verdict.isprintable()


@given(st.text().filter(lambda text: not set(text) & set("<>=!")))
def test_what_is_refused_is_refused_in_one_printable_line(text: str) -> None:
    with pytest.raises(ValueError, match="is not an expectation") as caught:
        parse(text)
    assert str(caught.value).isprintable()


# -- checking ---------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(OPERATORS)),
    st.floats(0, 1e12),
    st.floats(0, 1e12),
)
@example("<", 1.0, 1.0)
@example("<=", 1.0, 1.0)
@example("==", 1.0, 1.0)
def test_it_is_met_if_the_comparison_holds(sign: str, measured: float, bound: float) -> None:
    wanted = Expectation("x", "errors", sign, bound)
    assert wanted.check({"errors": measured}).met is OPERATORS[sign](measured, bound)


@pytest.mark.parametrize("sign", OPERATORS)
def test_what_was_not_measured_is_never_met(sign: str) -> None:
    wanted = parse(f"imbalance{sign}1.2")
    verdict = wanted.check({"imbalance": None})
    assert (verdict.met, verdict.measured, verdict.expectation) == (False, None, wanted)
    assert verdict.text == f"imbalance{sign}1.2: not measured, missed"


@pytest.mark.parametrize(
    ("expectation", "measured", "text"),
    [
        ("p99<20ms", 0.0312, "p99<20ms: 31.2 ms, missed"),
        ("p99 < 20 ms", 0.0098, "p99<20ms: 9.80 ms, met"),
        ("p99.9<1s", 0.00005, "p99.9<1s: 50.0 µs, met"),
        ("errors==0", 0, "errors==0: 0, met"),
        ("errors==0", 12345, "errors==0: 12,345, missed"),
        ("rps>=10k", 9876.5, "rps>=10k: 9,876, missed"),
        ("error_rate<0.1%", 0.0025, "error_rate<0.1%: 0.250 %, missed"),
        ("error_rate<0.001", 0.0025, "error_rate<0.001: 0.00250, missed"),
        ("imbalance<1.2", 1.1, "imbalance<1.2: 1.10, met"),
        ("bytes_sent>100MiB", 2**20 * 98.2, "bytes_sent>100MiB: 98.2 MiB, missed"),
        ("bytes_sent>=1000", 1000, "bytes_sent>=1000: 1,000, met"),
        # What would look like a contradiction.
        ("p99<20ms", 0.0200004, "p99<20ms: just over 20.0 ms, missed"),
        ("p99>=20ms", 0.0199996, "p99>=20ms: just under 20.0 ms, missed"),
        ("p99<20ms", 0.02, "p99<20ms: 20.0 ms, missed"),
        ("error_rate==0", 0.0, "error_rate==0: 0, met"),
    ],
)
def test_a_verdict_is_one_line(expectation: str, measured: float, text: str) -> None:
    assert text_of(expectation, measured) == text
