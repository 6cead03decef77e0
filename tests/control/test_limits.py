from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import WAIT

IN_A_PROCESS = """
import logging, resource, sys
from tcplb.control.limits import connection_limit

soft, hard, wanted = (None if word == "None" else int(word) for word in sys.argv[1:])
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
except (ValueError, OSError):
    sys.exit("not allowed")
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(name)s: %(message)s")
print(connection_limit(wanted), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def run(soft: int, hard: int, wanted: int | None) -> list[str]:
    """Ask for the limit in a process with these limits of open files; return what it says."""
    command = [sys.executable, "-c", IN_A_PROCESS, str(soft), str(hard), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    if done.stderr == "not allowed\n":
        pytest.skip(f"a limit of {hard} open files is not allowed here")
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("soft", "hard", "limit"),
    [(200, 200, 84), (201, 201, 84), (202, 202, 85), (100, 1032, 500)],
)
def test_auto_is_two_descriptors_a_connection_and_32_for_the_rest(
    soft: int, hard: int, limit: int
) -> None:
    assert run(soft, hard, None) == [f"{limit} ({hard}, {hard})"]


def test_a_number_that_fits_is_taken_and_the_soft_limit_raised_for_it() -> None:
    assert run(100, 1032, 500) == ["500 (1032, 1032)"]
    assert run(100, 1032, 7) == ["7 (1032, 1032)"]


def test_a_number_that_does_not_fit_is_lowered_with_a_warning() -> None:
    assert run(100, 1032, 501) == [
        "WARNING tcplb.limits: max_connections = 501 needs 1034 file descriptors, but the limit "
        "is 1032 (ulimit -Hn): lowered to 500",
        "500 (1032, 1032)",
    ]


@pytest.mark.parametrize("descriptors", [20, 32, 33, 35])
def test_even_the_smallest_limit_leaves_one_connection(descriptors: int) -> None:
    assert run(descriptors, descriptors, None) == [f"1 ({descriptors}, {descriptors})"]


def test_without_a_limit_auto_is_a_million_connections() -> None:
    assert run(100, -1, None)[-1].startswith("1000000 ")
