"""Watches the settings file, if that is wanted, and says when it has changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

INTERVAL = 1.0
"""Seconds between two looks at the file."""

Look = tuple[int, int, int] | None
"""Time, size and inode of a file; None if it is not there."""


class Looks:
    """One look after the other at a file, and whether it has another content.

    A file that is being written has another size a moment later: it is taken only when two looks
    have seen the same. That it is gone is no change: editors take a file away and put it back.
    """

    def __init__(self, first: Look) -> None:
        self._known = self._before = first

    def saw(self, one: Look) -> None:
        """Hear what somebody else has seen: that is no news any more."""
        self._known = one

    def is_change(self, now: Look) -> bool:
        """Whether the file has settled to be another one since the last time that it had."""
        changed = now == self._before and now not in (self._known, None)
        if changed:
            self._known = now
        self._before = now
        return changed


class Watch:
    """Calls `changed` whenever the file has another content, as far as its metadata tell."""

    def __init__(self, file: Path | None, changed: Callable[[], None]) -> None:
        """Prepare to watch `file`; without one there is nothing to do."""
        self._file = file
        self._changed = changed
        self._looks = Looks(None)
        self._task: asyncio.Task[None] | None = None

    def set(self, *, on: bool, seen: Look) -> None:
        """Begin to watch, or end. The file was last `seen` before it was loaded."""
        if on and self._task is None and self._file is not None:
            self._looks = Looks(seen)
            self._task = asyncio.create_task(self._watch(self._file), name="watch")
        elif not on and self._task is not None:
            self._task.cancel()
            self._task = None

    def saw(self, seen: Look) -> None:
        """Hear that the file was loaded for another reason, and how it was `seen` before that."""
        self._looks.saw(seen)

    async def close(self) -> None:
        """Watch no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, file: Path) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            if self._looks.is_change(look(file)):
                self._changed()


def look(file: Path) -> Look:
    """Return what tells one content of a file from another."""
    try:
        status = os.stat(file)  # noqa: PTH116 - a look at nothing else
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
