from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

Leftovers = Callable[[], list[int]]


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leftovers]:
    """Returns the pids of what the test has started and what still runs, grandchildren too.

    They are known by a mark in their environment.
    """
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs Linux's /proc")
    mark = uuid4().hex
    monkeypatch.setenv("TEST_MARK", mark)

    def find() -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    yield find
    for pid in find():  # of a test that failed at this
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
