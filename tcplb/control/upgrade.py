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
channel between them stays open to the end: each so knows whether the other is still there. After
several upgrades the last one has the channels to all that still let sessions end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import MSG_DONTWAIT, MSG_PEEK, SHUT_WR, socket, socketpair
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
    drains: Sequence[Any] = ()
    """What `Drains.to_json` has given."""
    older: Sequence[socket] = ()
    """The channels to those that were before the old one and have not ended yet."""


class Successor:
    """The new process, as the old one sees it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket, will: bytes) -> None:
        self.pid = process.pid
        self._process = process
        self._channel = channel
        self._will = will

    @classmethod
    def start(cls, estate: Estate) -> Successor:
        """Start it, by the command line of this process. Raises UpgradeError."""
        will, descriptors = _write_will(estate)
        try:
            ours, theirs = socketpair()
            with contextlib.ExitStack() as failed, theirs:
                failed.callback(ours.close)
                process = _spawn(estate, theirs, descriptors)
                failed.pop_all()
        except OSError as error:
            raise UpgradeError(f"cannot start the new process: {error.strerror}") from error
        ours.setblocking(False)
        return cls(process, ours, will)

    async def ready(self) -> None:
        """Wait until it serves. Raises UpgradeError if it does not; then it is gone.

        Whoever gives up waiting has it end as well: there cannot be two that serve.
        """
        loop = asyncio.get_running_loop()
        answer, why = b"", "ended before it was ready"
        try:
            async with asyncio.timeout(START_TIME):
                await loop.sock_sendall(self._channel, self._will)
                answer = await loop.sock_recv(self._channel, len(_READY))
        except TimeoutError:
            self._process.kill()
            why = f"was not ready after {START_TIME:g} s"
        except OSError:
            pass  # it has ended with something unread
        except asyncio.CancelledError:
            self._process.terminate()
            raise
        if answer == _READY:
            return
        code = await loop.run_in_executor(None, self._process.wait)
        self._channel.close()
        raise UpgradeError(f"the new process (pid {self.pid}) {why} (exit code {code})")

    async def gone(self) -> None:
        """Wait until it has ended."""
        await _until_closed(self._channel)


def _write_will(estate: Estate) -> tuple[bytes, list[int]]:
    """Return what the new process is told first, and the descriptors that it is given."""
    older = [channel.fileno() for channel in estate.older]
    descriptors = [*(sock.fileno() for _, sock in estate.sockets), estate.turns, *older]
    will: dict[str, Any] = {
        "turns": estate.turns,
        "changes": estate.changes.to_json(),
        "drains": list(estate.drains),
        "older": older,
    }
    if estate.admin is not None:
        will["admin"] = estate.admin.fileno()
        descriptors.append(estate.admin.fileno())
    return json.dumps(will).encode() + b"\n", descriptors


def _spawn(estate: Estate, channel: socket, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    environment = clean_environment(os.environ) | hand_over(estate.sockets)
    # systemd's is about the old process; the new one's watchdog is its own.
    environment.pop("WATCHDOG_PID", None)
    environment[VARIABLE] = str(channel.fileno())
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, env=environment, pass_fds=[*descriptors, channel.fileno()])


class Predecessor:
    """The old process, as the new one sees it, and those before it that have not ended yet."""

    def __init__(self, channel: socket, will: Mapping[str, Any]) -> None:
        self.has_left = False
        """Whether it was told that this one serves."""
        self._channel = channel
        self._older = [_adopt(number) for number in will.get("older", ())]
        self.changes = RuntimeChanges.from_json(will["changes"])
        self.drains: list[Any] = will.get("drains", [])
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
            with contextlib.ExitStack() as failed:
                channel = failed.enter_context(_adopt(int(number)))
                predecessor = cls(channel, _read_will(channel))
                failed.pop_all()
                return predecessor
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            log.warning("%s says nothing that can be used: %s", VARIABLE, error)
            return None

    @property
    def channels(self) -> list[socket]:
        """The channels to all that have not ended yet."""
        return [channel for channel in (self._channel, *self._older) if _is_open(channel)]

    def ready(self) -> None:
        """Tell it that this one serves: it is to accept no more."""
        self.has_left = True
        try:
            self._channel.send(_READY)
        except OSError as error:
            log.warning("the old process is gone: %s", error.strerror)

    def ending(self) -> None:
        """Tell it that this one is about to end, and that it is to end as well."""
        for channel in self.channels:
            with contextlib.suppress(OSError):
                channel.shutdown(SHUT_WR)

    async def gone(self) -> None:
        """Wait until it has ended."""
        for channel in self.channels:
            await _until_closed(channel)


def _read_will(channel: socket) -> dict[str, Any]:
    """Return what the old process says. Raises OSError and ValueError."""
    channel.setblocking(True)
    with channel.makefile("rb") as lines:
        will = json.loads(lines.readline(_LONGEST))
    channel.setblocking(False)
    if not isinstance(will, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - what comes in is wrong
    return will


def _adopt(number: int) -> socket:
    """Return the channel that descriptor `number` is. Raises OSError."""
    channel = socket(fileno=number)
    channel.set_inheritable(False)
    channel.setblocking(False)
    return channel


def _is_open(channel: socket) -> bool:
    try:
        return channel.recv(1, MSG_PEEK | MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


async def _until_closed(channel: socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(channel, 64):
            pass
    except OSError:
        pass  # it was killed with something unread
