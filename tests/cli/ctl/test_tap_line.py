from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.cli.ctl.tap_line import tap_line
from tcplb.dataplane.record import Active, Record, to_json, to_tcplog
from tcplb.dataplane.termination import Termination

COUNT = st.integers(0, 2**40)
SECONDS = st.floats(0, 10_000)
NAME = st.text("abc-_.0123456789", min_size=1, max_size=10)


@given(
    st.builds(
        Record,
        accepted_at=st.floats(0, 4e9),
        began=st.just(1.0),
        listener=NAME,
        pool=NAME,
        client_host=st.sampled_from(["10.0.0.1", "::1"]),
        client_port=st.integers(1, 65535),
        classified=st.none() | st.just(1.5),
        queued=SECONDS,
        queue_ahead=COUNT,
        attempts=st.sampled_from([0, 1, 2, 9]),
        backend=st.none() | NAME,
        connected=st.none() | st.floats(20_000, 30_000),
        ended=st.floats(30_000, 40_000),
        bytes_up=COUNT,
        bytes_down=COUNT,
        active=st.builds(Active, COUNT, COUNT, COUNT, COUNT),
        termination=st.sampled_from(list(Termination)),
    )
)
def test_the_line_is_that_of_the_access_log(record: Record) -> None:
    assert tap_line(json.loads(to_json(record))) == to_tcplog(record)


@pytest.mark.parametrize("record", [{}, {"time": "yesterday"}, {"client": 5, "active": 7}])
def test_a_record_of_another_form_is_shown_as_it_is(record: dict[str, object]) -> None:
    assert json.loads(tap_line(record)) == record


def test_a_line_is_printable() -> None:
    record = json.loads(to_json(Record(0.0, 0.0, "\x1b[31m", "p", "::1", 1)))
    assert "\\x1b[31m" in tap_line(record)
