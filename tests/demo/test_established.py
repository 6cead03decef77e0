from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tcplb.demo.established import TABLE, count, established
from tests.processes import eventually

needs_linux = pytest.mark.skipif(not TABLE.exists(), reason="needs Linux's /proc")

LINES = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111
   1: 0100007F:C350 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 112
   2: 0100007F:1F91 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 113
   3: 0100007F:C351 0100007F:1F91 06 00000000:00000000 00:00000000 00000000     0        0 0
   4: 0100007F:C352 0200007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 114
   5: 0100007F:C353 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 115
   6: 0100007F:C350 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 112
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table above is from such a machine")
def test_only_established_connections_to_that_very_address_count() -> None:
    assert count(LINES, "127.0.0.1", 8081) == 2
    assert count(LINES, "127.0.0.2", 8081) == 1
    assert count(LINES, "127.0.0.1", 8082) == 0
    assert count(b"", "127.0.0.1", 8081) == 0


def test_where_the_kernel_does_not_tell_nothing_is_said(tmp_path: Path) -> None:
    assert established(["127.0.0.1:8081"], tmp_path / "none") == {}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@needs_linux
def test_real_connections_are_counted_while_they_are_open(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    name = f"{host}:{port}"
    assert established([name]) == {name: 0}
    with ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(socket.create_connection((host, port)))
        # Where many others come and go, one reading may miss some.
        eventually(lambda: established([name]) == {name: 3})
    eventually(lambda: established([name]) == {name: 0})
