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
import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from socket import MSG_DONTWAIT, MSG_PEEK, SHUT_WR, socket, socketpair
from typing import Any

from tcplb.config.changes import RuntimeChanges
from tcplb.control.given_sockets import Served, clean_environment, hand_over
from tcplb.errors import TcplbError

VARIABLE = "TCPLB_PREDECESSOR"
START_TIME = 60.0
"""Seconds that the new one may take until it is ready."""
_READY = b"ready\n"
_REOPEN = b"reopen\n"
_LONGEST = 64 * 1024 * 1024

log = logging.getLogger("tcplb.upgrade")


class UpgradeError(TcplbError):
    """The new process has not taken over, or cannot. The message says why."""


@dataclass(frozen=True, slots=True)
class Estate:
    """What the old one leaves to the new one."""

    sockets: Sequence[Served]
    """The listening sockets."""
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

    def __init__(self, pid: int, channel: socket, will: bytes) -> None:
        self.pid = pid
        self._process = _handle_of(pid)
        self._channel = channel
        self._will = will

    @classmethod
    def start(cls, estate: Estate) -> Successor:
        """Start it, by the command line of this process. Raises UpgradeError."""
        if os.getpid() == 1:
            raise UpgradeError("this is process 1, and its container would end with it")
        will, descriptors = _write_will(estate)
        try:
            ours, theirs = socketpair()
            with contextlib.ExitStack() as failed, theirs:
                failed.callback(ours.close)
                pid = _spawn(estate, theirs, descriptors)
                failed.pop_all()
        except OSError as error:
            raise UpgradeError(f"cannot start the new process: {error.strerror}") from error
        ours.setblocking(False)
        return cls(pid, ours, will)

    async def ready(self) -> None:
        """Wait until it serves. Raises UpgradeError if it does not; then it is gone, or about to.

        Whoever gives up waiting has it end as well: there cannot be two that serve.
        """
        loop = asyncio.get_running_loop()
        answer, why, end = b"", "ended before it was ready", signal.SIGTERM
        try:
            async with asyncio.timeout(START_TIME):
                await loop.sock_sendall(self._channel, self._will)
                answer = await loop.sock_recv(self._channel, len(_READY))
        except TimeoutError:
            why, end = f"was not ready after {START_TIME:g} s", signal.SIGKILL
        except OSError:
            pass  # it has ended with something unread
        except asyncio.CancelledError:
            self._signal(end)
            raise
        if answer == _READY:
            return
        # Also if it has hung up: nearly always it has ended then, and nobody is there to hear it.
        self._signal(end)
        self._let_go()
        raise UpgradeError(f"the new process (pid {self.pid}) {why}")

    async def gone(self, reopen: Callable[[], None]) -> None:
        """Wait until it has ended. Meanwhile call `reopen` when it has the logs opened anew."""
        await _until_closed(self._channel, reopen)

    def _let_go(self) -> None:
        self._channel.close()
        if self._process is not None:
            os.close(self._process)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self._process, number)


def _handle_of(pid: int) -> int | None:
    """Return a descriptor that means this process; None where there are none.

    It is no child of ours, so when it has ended its number may soon be another process's.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux; or it has ended within this moment
        return None


def _write_will(estate: Estate) -> tuple[bytes, list[int]]:
    """Return what the new process is told first, and the descriptors that it is given."""
    older = [channel.fileno() for channel in estate.older]
    descriptors = [*(each.sock.fileno() for each in estate.sockets), estate.turns, *older]
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


_LAUNCH = """
import os, sys
number, *command = sys.argv[1:]
os.set_inheritable(int(number), False)
pid = os.posix_spawn(command[0], command, os.environ)
os.write(int(number), str(pid).encode())
"""


def _spawn(estate: Estate, channel: socket, descriptors: Sequence[int]) -> int:
    """Start the new process; return its pid. Raises OSError.

    It is nobody's child, so it becomes that of the service manager: as a grandchild it would not be
    one that systemd can wait for. `systemctl stop` would kill it without letting it drain, and its
    death would not be noticed before ours.
    """
    environment = clean_environment(os.environ) | hand_over(estate.sockets)
    # systemd's is about the old process; the new one's watchdog is its own.
    environment.pop("WATCHDOG_PID", None)
    environment[VARIABLE] = str(channel.fileno())
    command = [sys.executable, *sys.orig_argv[1:]]
    told, tell = os.pipe()
    with open(told, "rb") as answer:  # noqa: PTH123 - a descriptor, no path
        try:
            launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(tell), *command]
            passed = [*descriptors, channel.fileno(), tell]
            process = subprocess.Popen(launch, env=environment, pass_fds=passed)
        finally:
            os.close(tell)
        pid = answer.read()
        if process.wait() or not pid:
            raise OSError(errno.ECHILD, "its launcher has failed")
        return int(pid)


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

        The variable is taken out of `environ`. Raises UpgradeError if that process leaves something
        that makes no sense to this version: if this one served without, both would.
        """
        number = environ.pop(VARIABLE, None)
        if number is None:
            return None
        try:
            channel = _adopt(int(number))
        except (OSError, ValueError, OverflowError) as error:
            log.warning("%s says nothing that can be used: %s", VARIABLE, error)
            return None
        with contextlib.ExitStack() as failed:
            failed.enter_context(channel)
            try:
                will = _read_will(channel)
            except OSError as error:
                log.warning("the old process is gone: %s", error.strerror)
                return None
            predecessor = cls._understand(channel, will)
            failed.pop_all()
            return predecessor

    @classmethod
    def _understand(cls, channel: socket, will: bytes) -> Predecessor:
        try:
            return cls(channel, json.loads(will))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UpgradeError(
                f"what the old process leaves makes no sense to this version: {error}"
            ) from error

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

    def reopen(self) -> None:
        """Have it open its logs anew: a rotation has moved the files away."""
        for channel in self.channels:
            with contextlib.suppress(OSError):
                channel.send(_REOPEN)

    def ending(self) -> None:
        """Tell it that this one is about to end, and that it is to end as well."""
        for channel in self.channels:
            with contextlib.suppress(OSError):
                channel.shutdown(SHUT_WR)

    async def gone(self) -> None:
        """Wait until it has ended."""
        for channel in self.channels:
            await _until_closed(channel)


def _read_will(channel: socket) -> bytes:
    """Return what the old process says. Raises OSError, too if it ends before it has said it."""
    channel.setblocking(True)
    with channel.makefile("rb") as lines:
        will = lines.readline(_LONGEST)
    channel.setblocking(False)
    if not will.endswith(b"\n") and len(will) < _LONGEST:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
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


async def _until_closed(channel: socket, reopen: Callable[[], None] = lambda: None) -> None:
    loop = asyncio.get_running_loop()
    try:
        while said := await loop.sock_recv(channel, 64):
            if _REOPEN in said:
                reopen()
    except OSError:
        pass  # it was killed with something unread
