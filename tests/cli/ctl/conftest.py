from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.ctl.balancer import Balancer


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    with Balancer() as running:
        yield running
