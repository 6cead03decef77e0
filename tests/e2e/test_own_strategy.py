"""A strategy of the user's own, from the working directory."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_across_workers import counting_backends
from tests.processes import Running, balancer, eventually, tcplb, visit

pytestmark = pytest.mark.e2e

TWO = ("--workers", "2")


@contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def code_of_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m tcplb` is run elsewhere: what is tested has to be found from there too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def test_a_function_of_the_working_directory_with_two_workers(tmp_path: Path) -> None:
    with counting_backends(3) as backends:
        wanted = backends[1]
        (tmp_path / "picks.py").write_text(
            f'def favourite(key, backends):\n    return "127.0.0.1:{wanted.port}"\n'
        )
        with (
            working_directory(tmp_path),
            balancer(
                *TWO, "--strategy", "picks:favourite", backends=[each.port for each in backends]
            ) as (lb, port),
        ):
            for _ in range(30):
                visit(port)
            assert [each.total for each in backends] == [0, 30, 0]
            (line,) = lb.wait_for(r"listening on")
            assert "picks:favourite" in line.string
            stop(lb)


def test_a_function_that_gives_its_preference_order(tmp_path: Path) -> None:
    (tmp_path / "picks.py").write_text(
        "def by_port(key, backends):\n"
        "    return sorted(backends, key=lambda backend: backend.active)\n"
    )
    with (
        counting_backends(3) as backends,
        working_directory(tmp_path),
        balancer(
            *TWO, "--strategy", "picks:by_port", backends=[each.port for each in backends]
        ) as (lb, port),
    ):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        eventually(lambda: sum(each.open for each in backends) == 30)
        # `active` counts those of both workers; two that pick at the same instant may agree.
        assert all(8 <= each.open <= 12 for each in backends)
        for client in clients:
            client.close()
        stop(lb)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no idea')", "ValueError: no idea"),
        ("return 'nobody'", "named 'nobody'"),
        ("return None", "returned NoneType"),
        ("import time; time.sleep(0.01); return backends", "took "),
    ],
    ids=["raises", "unknown", "nothing", "slow"],
)
def test_a_function_that_fails_is_replaced_by_round_robin_and_told_of_once(
    tmp_path: Path, body: str, reason: str
) -> None:
    (tmp_path / "picks.py").write_text(f"def broken(key, backends):\n    {body}\n")
    with (
        counting_backends(2) as backends,
        working_directory(tmp_path),
        balancer("--strategy", "picks:broken", backends=[each.port for each in backends]) as (
            lb,
            port,
        ),
    ):
        for _ in range(40):
            visit(port)
        assert [each.total for each in backends] == [20, 20]
        stop(lb)
        told = [line for line in lb.lines if "round robin was used" in line]
        assert len(told) == 1
        assert reason in told[0]
        assert "strategy picks:broken" in told[0]


@pytest.mark.parametrize(
    ("text", "strategy", "reason"),
    [
        (None, "no_such_module:pick", "No module named 'no_such_module'"),
        ("import no_such_module\n", "picks:pick", "No module named 'no_such_module'"),
        ("def other(): pass\n", "picks:pick", "has no attribute 'pick'"),
        ("pick = 3\n", "picks:pick", "not a function"),
        ("def pick(:\n", "picks:pick", "SyntaxError"),
        ("raise SystemExit(7)\n", "picks:pick", "SystemExit"),
    ],
    ids=["missing", "imports", "attribute", "kind", "syntax", "exit"],
)
def test_a_function_that_cannot_be_loaded_is_exit_3(
    tmp_path: Path, text: str | None, strategy: str, reason: str
) -> None:
    if text is not None:
        (tmp_path / "picks.py").write_text(text)
    with (
        working_directory(tmp_path),
        tcplb("serve", "--listen", "127.0.0.1:0", *TWO, "--strategy", strategy) as running,
    ):
        code = running.wait()
        assert code == 3, running.output
        assert "Traceback" not in running.output
        lines = [line for line in running.lines if strategy in line]
        assert len(lines) == 1, running.output
        assert reason in lines[0]
        assert "listening on" not in running.output
