"""The two ways to show a demo: plain lines, and a live view of the whole terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import IO, Protocol, Self, cast

from rich.console import Console
from rich.live import Live

from tcplb.demo.keys import reading
from tcplb.demo.output import Output
from tcplb.demo.plain import invitation, status
from tcplb.demo.state import Noted, Picture
from tcplb.demo.view import screen

STATUS_TIME = 10.0
"""Seconds between two plain lines on how it is going."""

_SIZE = (80, 24)
"""Columns and lines of a terminal that does not know its size."""


class Front(AbstractContextManager["Front"], Protocol):
    """Shows the demo, from `__enter__` (when all has started) to `__exit__`."""

    def tell(self, news: Sequence[Noted]) -> None:
        """Show what has just happened. May be called before and after, too."""

    def show(self, picture: Picture) -> None:
        """Show how it is; called a few times a second."""


class Plain(Front):
    """Prints what happens as it happens, and how it is going now and then."""

    def __init__(self, output: Output) -> None:
        """Print to `output`."""
        self._output = output
        self._shown_at: float | None = None

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def tell(self, news: Sequence[Noted]) -> None:
        """Print each on a line."""
        for noted in news:
            self._output.write(f"{noted.text}\n")

    def show(self, picture: Picture) -> None:
        """Print what to try the first time, and later a line if it is time for one."""
        if self._shown_at is None:
            self._output.write(f"{invitation(picture)}\n")
        elif picture.running < self._shown_at + STATUS_TIME:
            return
        else:
            self._output.write(f"{status(picture)}\n")
        self._shown_at = picture.running


class LiveView(Front):
    """Takes over the terminal: draws the picture, and reads keys."""

    def __init__(self, output: Output, keyboard: int, on_key: Callable[[str], None]) -> None:
        """Draw on `output`, which is a terminal, and read from `keyboard`, a descriptor of it."""
        self._output = output
        self._keyboard = keyboard
        self._on_key = on_key
        console = Console(file=cast(IO[str], output), force_terminal=True)
        self._live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Take it over. Raises termios.error if the keyboard is no terminal."""
        with ExitStack() as opened:
            opened.enter_context(reading(self._keyboard, self._on_key))
            opened.enter_context(self._live)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it as it was."""
        self._open.close()

    def tell(self, news: Sequence[Noted]) -> None:
        """Do nothing: the next picture has them."""

    def show(self, picture: Picture) -> None:
        """Draw the picture, unless the terminal has not taken the last one yet."""
        if self._output.behind:
            return
        width, height = self._size()
        self._live.console.size = (width, height)
        self._live.update(screen(picture, width=width, height=height), refresh=True)

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._output.fileno())
        except OSError:  # it is gone
            return _SIZE
        return width or _SIZE[0], height or _SIZE[1]
