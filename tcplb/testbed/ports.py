"""Ports of processes that are down for a while."""

from __future__ import annotations

import socket
import sys


def hold(host: str, port: int) -> socket.socket | None:
    """Bind a port without listening, so that connects are refused and no socket takes the port.

    Without it, a connect to the very process that is down may get the port as its own, and talk to
    itself. Another process can still listen on the port if it sets SO_REUSEADDR, as all of ours do.
    Returns None if the port is in use, and where such a bind would keep ours away (not on Linux).
    """
    if sys.platform != "linux":
        return None
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        return None
    return sock
