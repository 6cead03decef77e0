from __future__ import annotations

from dataclasses import replace

import pytest

from tcplb.control.inquiries import TapFilter
from tcplb.control.wanted import is_termination, of_client, of_tap
from tcplb.dataplane.termination import Termination
from tests.records import RECORD


@pytest.mark.parametrize(
    ("host", "network", "expected"),
    [
        ("10.1.2.3", None, True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.2", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "::ffff:10.1.2.3", True),
        ("::ffff:10.1.2.3", "::ffff:10.0.0.0/104", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("fe80::1%eth0", "fe80::/10", True),
        ("fe80::1", "10.0.0.0/8", False),
        ("10.1.2.3", "::/0", False),
        ("10.1.2.3", "0.0.0.0/0", True),
        ("nobody", "0.0.0.0/0", False),
    ],
)
def test_whether_a_client_is_in_a_network(host: str, network: str | None, expected: bool) -> None:
    assert of_client(network)(host) is expected


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        of_client("nonsense")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (TapFilter(), True),
        (TapFilter(listener="web"), True),
        (TapFilter(listener="side"), False),
        (TapFilter(pool="web", backend="b1"), True),
        (TapFilter(pool="web", backend="b2"), False),
        (TapFilter(pool="other"), False),
        (TapFilter(client="127.0.0.0/8"), True),
        (TapFilter(client="127.0.0.2"), False),
        (TapFilter(termination="--"), True),
        (TapFilter(termination="S?"), False),
        (TapFilter(termination="??"), True),
    ],
)
def test_which_connections_a_tap_wants(wanted: TapFilter, expected: bool) -> None:
    assert of_tap(wanted)(RECORD) is expected


def test_those_without_a_backend_are_of_no_backend() -> None:
    record = replace(RECORD, backend=None, termination=Termination.CONNECT_FAILED)
    assert not of_tap(TapFilter(backend="b1"))(record)
    assert of_tap(TapFilter(termination="?C"))(record)


@pytest.mark.parametrize(
    ("pattern", "codes"),
    [
        (None, {"--", "SD", "CD"}),
        ("??", {"--", "SD", "CD"}),
        ("?D", {"SD", "CD"}),
        ("S?", {"SD"}),
        ("--", {"--"}),
        ("sD", set()),
        ("S", set()),
        ("SD?", set()),
    ],
)
def test_a_pattern_is_two_letters_or_marks(pattern: str | None, codes: set[str]) -> None:
    assert {code for code in ("--", "SD", "CD") if is_termination(pattern, code)} == codes
