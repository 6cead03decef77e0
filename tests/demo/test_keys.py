from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tcplb.demo.keys import END_OF_INPUT, parse, reading
from tests.processes import WAIT


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"2", "2"),
        (b"1sq", "1sq"),
        (b"\x1b[A", ""),  # cursor up
        (b"\x1b[1;5C", ""),  # ctrl and cursor right
        (b"\x1bOP", ""),  # F1
        (b"\x1b[15~", ""),  # F5
        (b"\x1b[A2\x1b[B", "2"),
        (b"\x1bq", ""),  # alt and q
        (b"\x1b", ""),
        ("é2".encode(), "2"),
        (b"\x04", END_OF_INPUT),
    ],
)
def test_only_plain_keys_count(sent: bytes, keys: str) -> None:
    assert parse(sent) == keys


def ignore(_: str) -> None:
    pass


@dataclass
class Pty:
    ours: int
    theirs: int


@pytest.fixture
def pty() -> Iterator[Pty]:
    pair = Pty(*os.openpty())
    yield pair
    for descriptor in (pair.ours, pair.theirs):
        if descriptor >= 0:
            os.close(descriptor)


async def test_keys_come_without_enter_and_are_not_echoed(pty: Pty) -> None:
    keys: asyncio.Queue[str] = asyncio.Queue()
    with reading(pty.theirs, keys.put_nowait):
        os.write(pty.ours, b"2")
        assert await asyncio.wait_for(keys.get(), WAIT) == "2"
        os.write(pty.ours, b"\x13\x1aq")  # ^S and ^Z, which would have stopped us
        assert [await asyncio.wait_for(keys.get(), WAIT) for _ in range(3)] == ["\x13", "\x1a", "q"]
    os.set_blocking(pty.ours, False)
    with pytest.raises(BlockingIOError):
        os.read(pty.ours, 100)


async def test_the_terminal_is_as_before_even_after_an_error(pty: Pty) -> None:
    before = termios.tcgetattr(pty.theirs)
    with pytest.raises(ZeroDivisionError), reading(pty.theirs, ignore):  # noqa: PT012
        assert termios.tcgetattr(pty.theirs) != before
        raise ZeroDivisionError
    assert termios.tcgetattr(pty.theirs) == before


async def test_interrupts_stay_signals(pty: Pty) -> None:
    with reading(pty.theirs, ignore):
        assert termios.tcgetattr(pty.theirs)[3] & termios.ISIG


async def test_what_was_typed_and_not_read_is_not_left_to_the_shell(pty: Pty) -> None:
    with reading(pty.theirs, ignore):
        os.write(pty.ours, b"rm -r\n")
    os.set_blocking(pty.theirs, False)
    with pytest.raises(BlockingIOError):
        os.read(pty.theirs, 100)


async def test_a_terminal_that_goes_away_is_the_end_of_the_input(pty: Pty) -> None:
    keys: asyncio.Queue[str] = asyncio.Queue()
    with reading(pty.theirs, keys.put_nowait):
        os.close(pty.ours)
        pty.ours = -1
        assert await asyncio.wait_for(keys.get(), WAIT) == END_OF_INPUT


async def test_what_is_no_terminal_is_refused() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(termios.error), reading(read_end, ignore):
            pytest.fail("it was read")
    finally:
        os.close(read_end)
        os.close(write_end)
