from __future__ import annotations

import asyncio
import os
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tcplb.demo.fronts import STATUS_TIME, LiveView, Plain
from tcplb.demo.output import Output
from tcplb.demo.state import Noted
from tests.demo.test_view import PICTURE
from tests.processes import WAIT
from tests.terminal import HOME


def ignore(_: str = "") -> None:
    pass


@contextmanager
def opened_pty() -> Iterator[tuple[int, int]]:
    ours, theirs = os.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def read_until(descriptor: int, end: bytes) -> bytes:
    """Return what comes, up to that end."""
    read = b""
    while end not in read:
        assert select.select([descriptor], [], [], WAIT)[0], f"only this came: {read!r}"
        read += os.read(descriptor, 1 << 16)
    return read


async def test_pictures_are_left_out_while_the_terminal_takes_none() -> None:
    with opened_pty() as (ours, theirs):
        output = Output(theirs, on_error=ignore)
        with LiveView(output, theirs, ignore) as view:
            view.show(PICTURE)
            read_until(ours, b"quit")
            termios.tcflow(theirs, termios.TCOOFF)
            for number in range(200):
                view.show(replace(PICTURE, connections=number))
                await asyncio.sleep(0)
            termios.tcflow(theirs, termios.TCOON)
        said = await asyncio.to_thread(read_until, ours, b"\x1b[?1049l")
        assert said.decode().count(HOME) <= 10  # a few may wait, 200 may not
        output.close()


async def test_a_terminal_that_does_not_know_its_size_gets_80_columns_and_24_lines() -> None:
    with opened_pty() as (ours, theirs):
        output = Output(theirs, on_error=ignore)
        with LiveView(output, theirs, ignore) as view:
            view.tell([Noted(0.0, "is in the next picture", "info")])
            view.show(PICTURE)
            said = await asyncio.to_thread(read_until, ours, b"quit")
        assert said.count(b"\r\n") == 23
        output.close()


def test_plain_lines_are_an_invitation_then_events_and_now_and_then_a_status() -> None:
    read_end, write_end = os.pipe()
    output = Output(write_end, on_error=ignore)
    with Plain(output) as plain:
        plain.tell([Noted(0.0, "before", "info")])
        for running in (1.0, 2.0, STATUS_TIME, STATUS_TIME + 1.0, STATUS_TIME + 2.0):
            plain.show(replace(PICTURE, running=running, connections=round(running)))
        plain.tell([Noted(0.0, "after", "info")])
    output.close()
    os.close(write_end)
    with os.fdopen(read_end) as reader:
        lines = reader.read().splitlines()
    assert lines[0] == "before"
    assert lines[-4:-2] == ["^C stops everything.", ""]
    assert lines[-2].startswith("least-connections: ")
    assert f" {round(STATUS_TIME + 1)} connections, " in lines[-2]
    assert lines[-1] == "after"
