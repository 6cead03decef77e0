"""systemd's notify protocol, sd_notify(3): tells the service manager how this process is doing."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_PATIENCE = 2.0
"""Seconds to wait for room in the manager's queue."""
_LONGEST_NUMBER = 20
"""Digits of 2**64, beyond which no time in microseconds goes."""

log = logging.getLogger("tcplb.notify")


class Notifier:
    """Sends datagrams to the service manager, or nothing if there is none.

    Nothing that becomes of a message disturbs the caller: a socket that is gone or full is logged
    at debug, once. A full one is waited for a little: a main process that the manager has not heard
    of is killed as a left-over of the one before. Only the watchdog does not wait: it comes again.
    """

    def __init__(
        self,
        address: str = "",
        watchdog_interval: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Send to the Unix socket at `address`, a path or ``@name``; empty for nobody.

        `monotonic_ns` is the system's CLOCK_MONOTONIC in nanoseconds.
        """
        self.watchdog_interval = watchdog_interval
        """Seconds between two calls of `watchdog`; None if nobody waits for them."""
        self._monotonic_ns = monotonic_ns
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._has_failed = False
        if address:
            # Kept open: at the limit of descriptors the watchdog has to be fed all the same.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        *,
        pid: int | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> Notifier:
        """Return the notifier that the service manager asks for in `environ`.

        `pid` is this process, unless given. Values that make no sense count as not there.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")) or len(address) < 2:
            return cls()
        interval = _watchdog_interval(environ, os.getpid() if pid is None else pid)
        return cls(address, interval, monotonic_ns)

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is complete."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Say that the settings are being reloaded; `ready` is to follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def status(self, text: str) -> None:
        """Say in words how it goes: `systemctl status` shows it."""
        self._send(_status(text))

    def stopping(self) -> None:
        """Say that this process is about to end."""
        self._send("STOPPING=1")

    def main_pid(self, pid: int) -> None:
        """Say that `pid` is the main process from now on."""
        self._send(f"MAINPID={pid}")

    def watchdog(self) -> None:
        """Say that this process is alive."""
        self._send("WATCHDOG=1", patience=0)

    def close(self) -> None:
        """Send nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str, patience: float = _PATIENCE) -> None:
        if self._socket is None:
            return
        self._socket.settimeout(patience)
        try:
            self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError as error:
            if not self._has_failed:
                log.debug("the service manager cannot be told: %s", error)
            self._has_failed = True


def without_notify(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` for a process that the service manager is not to hear of, such as a worker.

    The next main process of an upgrade in place gets NOTIFY_SOCKET and WATCHDOG_USEC, but no
    WATCHDOG_PID: that is the pid of the one before.
    """
    return {name: value for name, value in environ.items() if name not in _VARIABLES}


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.splitlines())


def _watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return half the time in seconds after which the service manager loses patience."""
    if environ.get("WATCHDOG_PID") not in (None, str(pid)):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        return None
    return int(text) / 2e6 or None
