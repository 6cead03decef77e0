"""Single keys from a terminal, without Enter, and the terminal as it was before at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import termios
from collections.abc import Callable, Iterator

_READ_SIZE = 1024
_LOCAL_FLAGS, _INPUT_FLAGS, _CHARACTERS = 3, 0, 6
"""Where `tcgetattr` has them."""
_NOT_A_KEY = re.compile(
    rb"\x1b[\[O][0-?]*[ -/]*[@-~]"  # cursor and function keys: they contain letters and digits
    rb"|\x1b[^\[O]?"  # a letter with Alt
    rb"|[\x80-\xff]"
)
END_OF_INPUT = "\x04"
"""What ^D sends, and what is reported when the terminal is gone."""


def parse(data: bytes) -> str:
    """Return the plain keys, one a character, in what a terminal sent."""
    return _NOT_A_KEY.sub(b"", data).decode("ascii")


@contextlib.contextmanager
def reading(terminal: int, on_key: Callable[[str], None]) -> Iterator[None]:
    """Call `on_key` with each key that is pressed on a terminal, in cbreak mode meanwhile.

    ^C goes on to be a signal. ^Z, ^S and SIGQUIT's are keys like any other: they would leave
    everything standing still, or running without us. Raises termios.error if it is no terminal.
    """
    before = termios.tcgetattr(terminal)
    loop = asyncio.get_running_loop()

    def read() -> None:
        keys = _read(terminal)
        if keys is None:
            loop.remove_reader(terminal)
            keys = END_OF_INPUT
        for key in keys:
            on_key(key)

    try:
        termios.tcsetattr(terminal, termios.TCSANOW, _cbreak(terminal))
        loop.add_reader(terminal, read)
        yield
    finally:
        loop.remove_reader(terminal)
        # Not TCSADRAIN, which would wait for a terminal that nobody reads. It may be gone, too.
        with contextlib.suppress(termios.error):
            termios.tcflush(terminal, termios.TCIFLUSH)
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def _read(terminal: int) -> str | None:
    """Return the keys that are there; None if there will be no more."""
    # The descriptor stays blocking, as it is the shell's too: this is for when it can be read.
    try:
        data = os.read(terminal, _READ_SIZE)
    except OSError:
        return None
    return parse(data) if data else None


def _cbreak(terminal: int) -> list[int | list[bytes | int]]:
    settings = termios.tcgetattr(terminal)
    settings[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
    settings[_INPUT_FLAGS] &= ~termios.IXON
    characters = settings[_CHARACTERS]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    characters[termios.VSUSP] = characters[termios.VQUIT] = b"\0"
    return settings
