from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tcplb.control.turns import Turns
from tests.processes import WAIT

HOLD = """
import sys
from tcplb.control.turns import Turns
turns = Turns(int(sys.argv[1]))
with getattr(turns, sys.argv[2]):
    print("mine", flush=True)
    sys.stdin.readline()
print("given back", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def turns() -> Iterator[Turns]:
    with closing(Turns.create()) as made:
        yield made


class Other:
    """Another process that wants a turn, as soon as it is made."""

    def __init__(self, turns: Turns, which: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(turns.descriptor), which],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(turns.descriptor,),
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.communicate("\n\n", timeout=WAIT)


def test_only_one_process_at_a_time_has_the_turn(turns: Turns) -> None:
    order = []
    with turns.access:
        other = Other(turns, "access")
        order.append("ours")
    order.append(other.says())
    other.go_on()
    assert other.says() == "given back"
    with turns.access:
        order.append("ours again")
    assert order == ["ours", "mine", "ours again"]
    other.end()


def test_a_turn_is_waited_for(turns: Turns) -> None:
    first = Other(turns, "access")
    assert first.says() == "mine"
    second = Other(turns, "access")
    first.go_on()
    assert first.says() == "given back"
    assert second.says() == "mine"
    for each in (first, second):
        each.end()


def test_the_two_logs_have_turns_of_their_own(turns: Turns) -> None:
    other = Other(turns, "access")
    assert other.says() == "mine"
    with turns.application:
        pass
    other.end()


def test_the_turn_of_a_process_that_is_killed_is_free(turns: Turns) -> None:
    other = Other(turns, "application")
    assert other.says() == "mine"
    os.kill(other.process.pid, signal.SIGKILL)
    with turns.application:
        pass
    other.end()


CROSSED = """
import sys, threading, time
from tcplb.control.turns import Turns
turns = Turns(int(sys.argv[1]))
def write(turn):
    for _ in range(300):
        with turn:
            time.sleep(0.0001)  # a write takes its time
both = (turns.access, turns.application)
threads = [threading.Thread(target=write, args=(turn,)) for turn in both]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


def test_two_logs_written_by_two_processes_are_no_deadlock(turns: Turns) -> None:
    """Though it looks like one to the kernel, now and then."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CROSSED, str(turns.descriptor)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=(turns.descriptor,),
        )
        for _ in range(3)
    ]
    assert [process.communicate(timeout=WAIT)[0] for process in processes] == ["done\n"] * 3
