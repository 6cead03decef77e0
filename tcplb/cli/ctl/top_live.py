"""The terminal that `tcplb ctl top` takes over: draws frames, and reads keys."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Self, cast

from rich.console import Console
from rich.live import Live

from tcplb.cli.ctl.top_frame import Frame, Sort
from tcplb.cli.ctl.top_view import screen
from tcplb.demo.keys import END_OF_INPUT, reading
from tcplb.demo.output import Output

_SIZE = (80, 24)
"""Columns and lines of a terminal that does not know its size."""
_QUIT = ("q", END_OF_INPUT)


class LiveTop:
    """Shows frames on a terminal, from `__enter__` to `__exit__`, which leaves it as it was."""

    def __init__(
        self, output: Output, keyboard: int, *, where: str, sort: Sort, stop: Callable[[], None]
    ) -> None:
        """Draw on `output`, read keys from the descriptor `keyboard`; `stop` is what q does."""
        self._output = output
        self._keyboard = keyboard
        self._where = where
        self._sort = sort
        self._stop = stop
        self._frame: Frame | None = None
        self._trouble = "waiting for the first figures"
        self._live = Live(
            console=Console(file=cast(IO[str], output), force_terminal=True),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Take the terminal over. Raises termios.error if the keyboard is none."""
        loop = asyncio.get_running_loop()
        with ExitStack() as opened:
            opened.enter_context(reading(self._keyboard, self._on_key))
            opened.enter_context(self._live)
            loop.add_signal_handler(signal.SIGWINCH, self._draw)
            opened.callback(loop.remove_signal_handler, signal.SIGWINCH)
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

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        self._frame, self._trouble = frame, ""
        self._draw()

    def lost(self, why: str, left: int) -> None:
        """Show that there are no new figures, and why."""
        self._trouble = f"{why}; trying again ({left} left)"
        self._draw()

    def _on_key(self, key: str) -> None:
        if key.lower() in _QUIT:
            self._stop()
            return
        for sort in Sort:
            if key.lower() == sort.value:
                self._sort = sort
                self._draw()

    def _draw(self) -> None:
        if self._output.behind:  # the terminal has not taken the last ones yet
            return
        width, height = self._size()
        self._live.console.size = (width, height)
        picture = screen(
            self._frame,
            where=self._where,
            sort=self._sort,
            trouble=self._trouble,
            width=width,
            height=height,
        )
        self._live.update(picture, refresh=True)

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._output.fileno())
        except OSError:  # it is gone
            return _SIZE
        return width or _SIZE[0], height or _SIZE[1]
