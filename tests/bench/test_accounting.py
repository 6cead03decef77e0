"""CPU time and memory of a tree of processes, measured on real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.accounting import cpu_seconds, memory_bytes, tree

BUSY = 0.3
"""Seconds of CPU time that a child burns."""

# Each says on a line of its own how far it is, and goes on when its input is closed.
BURN = f"""
import time
while time.process_time() < {BUSY}: pass
"""
CHILD = BURN + "print('burnt', flush=True); input()"
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, '-c', sys.argv[1]], check=False)
print('parent', flush=True)
sys.stdin.read()
"""
IN_THREAD = f"""
import threading, time
def burn():
    while time.thread_time() < {BUSY}: pass
thread = threading.Thread(target=burn)
thread.start()
thread.join()
print('burnt', flush=True)
input()
"""
ALLOCATE = """
import sys
print('before', flush=True)
sys.stdin.readline()
block = bytearray(range(256)) * (40_000_000 // 256)
print('after', flush=True)
sys.stdin.readline()
"""


@contextmanager
def python(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_busy_childs_time_counts_while_it_lives() -> None:
    with python(PARENT, CHILD) as parent:
        assert line(parent) == "burnt"
        assert len(tree(parent.pid)) == 2
        assert cpu_seconds(parent.pid) >= BUSY
        say(parent)  # and the child, which shares our pipe, ends
        assert line(parent) == "parent"


def test_a_childs_time_counts_after_its_end() -> None:
    with python(PARENT, BURN) as parent:
        assert line(parent) == "parent"
        assert tree(parent.pid) == [parent.pid]
        assert cpu_seconds(parent.pid) >= BUSY * 0.9  # in ticks of 10 ms, rounded down


def test_a_threads_time_counts_after_its_end() -> None:
    with python(IN_THREAD) as process:
        assert line(process) == "burnt"
        assert cpu_seconds(process.pid) >= BUSY


def test_time_of_others_does_not_count() -> None:
    with python("input()") as idle, python(CHILD) as busy:
        before = cpu_seconds(busy.pid)
        assert line(busy) == "burnt"
        assert cpu_seconds(busy.pid) >= before
        assert busy.pid not in tree(idle.pid)


def test_memory_grows_by_what_is_allocated() -> None:
    with python(ALLOCATE) as process:
        assert line(process) == "before"
        before = memory_bytes(process.pid)
        say(process)
        assert line(process) == "after"
        assert memory_bytes(process.pid) - before >= 35_000_000


def test_a_process_that_is_gone_counts_nothing() -> None:
    with python("pass") as process:
        process.wait()
    assert cpu_seconds(process.pid) == 0
    assert memory_bytes(process.pid) == 0
