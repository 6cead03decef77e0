"""Upgrade in place: another process, perhaps of a newer version, takes over without a gap.

::

    old one                                     new one
    SIGUSR2 ─▶ starts ─────────────────────────▶ reads the settings, takes the sockets that it was
               gives it the listening sockets,   given, starts its workers
               the runtime changes      ◀── ready ──
               accepts no more; lets its         serves
               sessions end

The two share the listening sockets all the time, so no client finds the door closed. If the new one
ends before it is ready, whatever the reason, the old one goes on as if nothing had happened. The
channel between them stays open to the end: each so knows whether the other is still there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import socket, socketpair
from typing import Any

from tcplb.config.changes import RuntimeChanges
from tcplb.control.given_sockets import clean_environment, hand_over

VARIABLE = "TCPLB_PREDECESSOR"
START_TIME = 60.0
"""Seconds that the new one may take until it is ready."""
_READY = b"ready\n"
_LONGEST = 64 * 1024 * 1024

log = logging.getLogger("tcplb.upgrade")


class UpgradeError(Exception):
    """The new process has not taken over. The message says why."""


@dataclass(frozen=True, slots=True)
class Estate:
    """What the old one leaves to the new one."""

    sockets: Sequence[tuple[str, socket]]
    """Listening sockets, each with its listener's name."""
    admin: socket | None
    turns: int
    """The descriptor of `Turns`: both write to the same logs for a while."""
    changes: RuntimeChanges


class Successor:
    """The new process, as the old one sees it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket) -> None:
        self.pid = process.pid
        self._process = process
        self._channel = channel

    @classmethod
    def start(cls, estate: Estate) -> Successor:
        """Start it, by the command line of this process. Raises UpgradeError."""
        ours, theirs = socketpair()
        descriptors = [sock.fileno() for _, sock in estate.sockets] + [estate.turns]
        will: dict[str, Any] = {"turns": estate.turns, "changes": estate.changes.to_json()}
        if estate.admin is not None:
            will["admin"] = estate.admin.fileno()
            descriptors.append(estate.admin.fileno())
        environment = clean_environment(os.environ) | hand_over(estate.sockets)
        # systemd's is about the old process; the new one's watchdog is its own.
        environment.pop("WATCHDOG_PID", None)
        environment[VARIABLE] = str(theirs.fileno())
        command = [sys.executable, *sys.orig_argv[1:]]
        try:
            with theirs:
                process = subprocess.Popen(
                    command, env=environment, pass_fds=[*descriptors, theirs.fileno()]
                )
                ours.sendall(json.dumps(will).encode() + b"\n")
        except OSError as error:
            ours.close()
            raise UpgradeError(f"cannot start the new process: {error.strerror}") from error
        ours.setblocking(False)
        return cls(process, ours)

    async def ready(self) -> None:
        """Wait until it serves. Raises UpgradeError if it does not; then it is gone."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_TIME):
                answer = await loop.sock_recv(self._channel, len(_READY))
        except TimeoutError:
            self._process.kill()
            answer, why = b"", f"was not ready after {START_TIME:g} s"
        else:
            why = "ended before it was ready"
        if answer == _READY:
            return
        code = await loop.run_in_executor(None, self._process.wait)
        self._channel.close()
        raise UpgradeError(f"the new process (pid {self.pid}) {why} (exit code {code})")

    async def gone(self) -> None:
        """Wait until it has ended."""
        await _until_closed(self._channel)


class Predecessor:
    """The old process, as the new one sees it."""

    def __init__(self, channel: socket, will: Mapping[str, Any]) -> None:
        self._channel = channel
        self.changes = RuntimeChanges.from_json(will["changes"])
        self.turns: int = will["turns"]
        self.admin: int | None = will.get("admin")

    @classmethod
    def from_environment(cls, environ: dict[str, str] | os._Environ[str]) -> Predecessor | None:
        """Return the process that has started this one to be replaced, if that is so.

        The variable is taken out of `environ`.
        """
        number = environ.pop(VARIABLE, None)
        if number is None:
            return None
        try:
            channel = socket(fileno=int(number))
            channel.set_inheritable(False)
            with channel.makefile("rb") as lines:
                will = json.loads(lines.readline(_LONGEST))
            channel.setblocking(False)
            return cls(channel, will)
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s says nothing that can be used: %s", VARIABLE, error)
            return None

    def ready(self) -> None:
        """Tell it that this one serves: it is to accept no more."""
        try:
            self._channel.send(_READY)
        except OSError as error:
            log.warning("the old process is gone: %s", error.strerror)

    async def gone(self, timeout: float) -> None:
        """Tell it that this one ends, and give it so many seconds to end as well."""
        try:
            self._channel.shutdown(1)
            async with asyncio.timeout(timeout):
                await _until_closed(self._channel)
        except (OSError, TimeoutError):
            pass


async def _until_closed(channel: socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(channel, 64):
            pass
    except OSError:
        pass  # it was killed with something unread
