"""How many connections are open to an address, as the kernel knows it (Linux)."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from pathlib import Path

TABLE = Path("/proc/net/tcp")
_ESTABLISHED = b"01"


def count(table: bytes, host: str, port: int) -> int:
    """Count the established connections to an IPv4 address in the text of ``/proc/net/tcp``.

    In a line the peer's address stands right before the state, in hexadecimal and in the byte order
    of the machine: ``0: 0100007F:C350 0100007F:1F91 01 …`` is one to 127.0.0.1:8081.
    """
    address = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    return table.count(b" %08X:%04X %s " % (address, port, _ESTABLISHED))


def established(names: Iterable[str], table: Path = TABLE) -> dict[str, int]:
    """Count the connections to each ``HOST:PORT``; nothing where the kernel does not tell."""
    try:
        text = table.read_bytes()
    except OSError:
        return {}
    counts = {}
    for name in names:
        host, _, port = name.rpartition(":")
        counts[name] = count(text, host, int(port))
    return counts
