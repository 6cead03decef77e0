from __future__ import annotations

from dataclasses import replace

import pytest

from tcplb.demo.plain import invitation, status, totals, try_commands
from tests.demo.test_view import PICTURE


def test_the_invitation_has_the_real_ports() -> None:
    text = invitation(PICTURE)
    assert "The balancer listens on http://localhost:19090. Try, in another terminal:" in text
    assert "\n  curl http://localhost:19090/hello  " in text
    assert "\n  echo-backends --ports 18082  " in text
    assert text.endswith("\n^C stops everything.\n")


@pytest.mark.parametrize(
    ("strategy", "shows"),
    [
        ("hash", "a path always meets the same backend"),
        ("round-robin", "the backends take turns"),
        ("least-connections", "the backend that is least busy answers"),
    ],
)
def test_what_to_try_says_what_the_strategy_does(strategy: str, shows: str) -> None:
    command, said = try_commands(replace(PICTURE, strategy=strategy))[0]
    assert (command, said) == ("curl http://localhost:19090/hello", shows)


def test_the_status_has_share_and_rate_and_whoever_is_not_up() -> None:
    line = status(PICTURE)
    assert line.startswith("least-connections: 127.0.0.1:18081 25% 9.8/s, ")
    assert "127.0.0.1:18082 EJECTED 0% 0.0/s, 127.0.0.1:18083 DOWN 0% 0.0/s, " in line
    assert line.endswith(totals(PICTURE))
    assert "\n" not in line


def test_the_totals_have_connections_and_errors() -> None:
    assert totals(replace(PICTURE, failed=3, load_errors=2)) == (
        "300143 connections, 7 of them sent on to another backend, 3 turned away; "
        "light load: 299000 answered, 2 errors"
    )
