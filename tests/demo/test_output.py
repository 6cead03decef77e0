from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

from tcplb.demo.output import Output
from tests.processes import WAIT


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """The read end and the write end; a test that closes one takes it out."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def ignore() -> None:
    pass


@pytest.mark.parametrize("blocking", [True, False])
def test_what_is_written_arrives_whole_and_in_order(pipe: list[int], blocking: bool) -> None:
    os.set_blocking(pipe[1], blocking)
    text = "".join(f"line {number}\n" for number in range(20_000))  # more than a pipe holds
    output = Output(pipe[1], on_error=ignore)
    output.write(text[:200_000])
    for line in text[200_000:].splitlines(keepends=True):
        output.write(line)
    read = b""
    while len(read) < len(text):
        read += os.read(pipe[0], 1 << 16)
    output.close()
    assert read.decode() == text
    assert not output.behind


def test_nothing_waits_for_a_reader_who_does_not_read(pipe: list[int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    output = Output(pipe[1], on_error=ignore)
    for _ in range(20):
        output.write("x" * 4096)
    assert output.behind
    output.close()
    # Let the thread come to its end before the pipe is closed.
    left = 20 * 4096
    while left:
        left -= len(os.read(pipe[0], 4096))


def test_a_reader_who_leaves_is_told_once_and_kept(pipe: list[int]) -> None:
    told = threading.Semaphore(0)
    output = Output(pipe[1], on_error=told.release)
    os.close(pipe.pop(0))
    output.write("nobody reads this\n")
    output.write("nor this\n")
    assert told.acquire(timeout=WAIT)
    output.close()
    assert output.error is not None
    assert output.error.errno == errno.EPIPE
    assert not told.acquire(blocking=False)
