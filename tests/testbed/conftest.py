from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mark import Mark

Leftovers = Callable[[], list[int]]


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leftovers]:
    """Returns the pids of what the test has started and what still runs, grandchildren too."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs Linux's /proc")
    mark = Mark()
    for name, value in mark.environment.items():
        monkeypatch.setenv(name, value)
    yield lambda: list(mark.processes())
    mark.kill()  # what a test that failed at this has left
