"""One worker as the supervisor sees it: a child process and the channel to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tcplb.control.channel import Channel
from tcplb.control.given_sockets import clean_environment
from tcplb.control.inherited import DEAF_TO, Inherited
from tcplb.control.messages import (
    Drain,
    Draining,
    Ended,
    Failed,
    Force,
    Message,
    Ready,
    Reload,
    Reloaded,
)
from tcplb.control.notify import without_notify
from tcplb.control.plan import Plan, working_directory

START_TIME = 30.0
"""Seconds that a worker may take until it is ready."""

GRACE = 6.0
"""Seconds that a worker may take to end when its drain is over; its logs may need 4 of them."""

_REAP_AGAIN = 0.01


class WorkerProcess:
    """A worker from its start until it is reaped."""

    def __init__(
        self,
        inherited: Callable[[int], Inherited],
        received: Callable[[Message], None],
        ended: Callable[[WorkerProcess, str], None],
        generation: int = 0,
    ) -> None:
        """Start it, with the plan of that generation.

        `inherited` is given the descriptor of its end of the channel.
        `received` is called with what it says, after it has been noted here, and `ended` once, with
        how it ended, when it is gone. Raises OSError if the system has no room for another process.
        """
        self._loop = asyncio.get_running_loop()
        self._received = received
        self._on_end = ended
        self.ready_at: float | None = None
        """When it said that it is ready, by the loop's clock."""
        self.draining = False
        self.open_sessions: int | None = None
        """How many sessions it had when it began to drain; None before it says so."""
        self.cut: int | None = None
        """How many sessions it cut off; None until it has ended in good order."""
        self.failure = ""
        """Why it cannot start, in its own words."""
        self.generation = generation
        """The plan that it was given last."""
        self.applied = generation
        """The last plan that it has gone over to, or tried to."""
        self.reload_failure = ""
        """Why it still goes by the one before that, if it does."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                given = inherited(theirs.fileno())
                self._process = _spawn(given)
            except BaseException:
                ours.close()
                raise
        self._channel = Channel(ours, self._on_message, self._reap)
        self._alarm = self._loop.call_later(START_TIME, self.kill)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it can be given sockets."""
        return self.ready_at is not None and not self.draining

    def send(self, message: Message, sock: socket.socket | None = None) -> None:
        """Tell it something, and give it a copy of `sock` if there is one."""
        self._channel.send(message, None if sock is None else sock.fileno())

    def reload(self, plan: Plan) -> None:
        """Have it go by another plan, as soon as it is able to."""
        if self.ready_at is not None and self.generation != plan.generation:
            self.generation = plan.generation
            self.send(Reload(plan))

    def drain(self, timeout: float) -> None:
        """Let its sessions end for `timeout` seconds; it then ends by itself, or is made to.

        One that drains already keeps its time, and only says again how many sessions it has.
        """
        self.open_sessions = None
        self.send(Drain(timeout))
        if not self.draining:
            self.draining = True
            self._set_alarm(timeout + GRACE)

    def force(self) -> None:
        """Have it cut off its sessions and end now."""
        self.send(Force())
        self._set_alarm(GRACE)

    def kill(self) -> None:
        """End it whatever it does, for instance nothing."""
        self._process.kill()

    def _set_alarm(self, seconds: float) -> None:
        self._alarm.cancel()
        self._alarm = self._loop.call_later(seconds, self.kill)

    def _on_message(self, message: Message, _: int | None) -> None:
        match message:
            case Ready():
                self.ready_at = self._loop.time()
                if not self.draining:
                    self._alarm.cancel()
            case Failed(reason):
                self.failure = reason
            case Reloaded(generation, failure):
                self.applied = generation
                self.reload_failure = failure
            case Draining(open_sessions):
                self.open_sessions = open_sessions
            case Ended(cut):
                self.cut = cut
        self._received(message)

    def _reap(self) -> None:
        """Learn how it ended. Its end of the channel is closed, which is the last thing it does."""
        code = self._process.poll()
        if code is None:
            self._loop.call_later(_REAP_AGAIN, self._reap)
            return
        self._alarm.cancel()
        self._on_end(self, self.failure or _in_words(code))


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"


def _spawn(given: Inherited) -> subprocess.Popen[bytes]:
    """Start the worker's process by exec, deaf to signals from its first instruction on."""
    # Blocked signals are inherited; the worker unblocks them when it ignores them. Ours wait for
    # the few milliseconds that this takes.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        return subprocess.Popen(
            [sys.executable, *_path_flags(), "-m", "tcplb.control.worker", *given.arguments()],
            stdin=subprocess.DEVNULL,
            pass_fds=given.descriptors,
            # What says who we are to the service manager is about this process alone.
            env=without_notify(clean_environment(os.environ)),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _path_flags() -> Sequence[str]:
    """Return the flags with which the worker finds the same modules as this process.

    `-m` looks for modules in the working directory first. That is where we found ours if we were
    started in that way; if not, nothing may be imported from there.
    """
    here = working_directory()  # which may be gone
    if sys.path and here and Path(sys.path[0]) == Path(here) and not sys.flags.safe_path:
        return ()
    return ("-P",)
