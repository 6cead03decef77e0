"""A process of ours: started, listened to, and ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from tcplb.testbed.errors import BedError, PortTakenError

START_TIME = 30.0
"""Seconds that a child may take until it is ready."""

STOP_TIME = 5.0
"""Seconds that a child has to end after SIGTERM."""

_KILL_TIME = 5.0
"""Seconds that the kernel has to end it after SIGKILL."""

_CANNOT_BIND = 4
"""The exit code of `tcplb serve` and of `echo-backends` if they cannot listen."""

_PORT_TAKEN = "in use"
"""Is in their message if the reason is that somebody else listens there."""

_CHUNK = 1 << 16
_PDEATHSIG = str(Path(__file__).with_name("pdeathsig.py"))

OnLine = Callable[[str], None]
"""Is called with each line of output, without its end. It must not raise."""


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module, found where this process finds its own.

    `-m` looks for modules in the working directory first. That is right if this process was started
    in that way; if not, nothing may be imported from there.
    """
    by_module = sys.path and Path(sys.path[0]) == Path.cwd() and not sys.flags.safe_path
    flags = () if by_module else ("-P",)
    return [sys.executable, *flags, "-m", name, *arguments]


class Child:
    """A command in a session of its own: a terminal's ^C reaches it only through us, in order.

    On Linux it gets SIGTERM when the thread that started it ends, so run it from the main thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: str,
        on_stdout: OnLine,
        on_stderr: OnLine,
        on_end: Callable[[int], None] | None = None,
        environment: Mapping[str, str] | None = None,
        start_time: float = START_TIME,
        stop_time: float = STOP_TIME,
    ) -> None:
        """Prepare it; `name` is what it is called in errors, as in "the balancer".

        It is ready when a line of its output matches the pattern `ready`. Lines are handed over
        from then on, with those before it. `on_end` hears the exit code (negative: the signal) of
        a child that was ready and ends without our doing. The child gets our environment without
        the settings of `tcplb serve` (TCPLB_…), and with `environment`.
        """
        self.name = name
        self._command = command
        self._ready = re.compile(ready)
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr
        self._on_end = on_end
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("TCPLB_")}
        self._environment.update(environment or {})
        self._start_time = start_time
        self._stop_time = stop_time
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._held: list[tuple[OnLine, str]] = []
        self._match: re.Match[str] | None = None
        self._started = asyncio.Event()
        self._ending = False

    @property
    def pid(self) -> int:
        """Its process id; it must have been started."""
        return self._of_process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._of_process.returncode

    async def start(self) -> re.Match[str]:
        """Start it, wait until it is ready, and return the match of that.

        Raises BedError if it cannot be started, is not ready in time or ends before, with what it
        said: PortTakenError if that was that its port is in use.
        """
        # asyncio does not take it well when it is cancelled while it starts a process.
        launch = asyncio.create_task(self._launch(), name=f"launch {self.name}")
        try:
            await asyncio.shield(launch)
            await asyncio.wait_for(self._started.wait(), self._start_time)
        except TimeoutError as error:
            await self.stop()
            raise BedError(f"{self.name} was not ready in {self._start_time:g} s") from error
        except OSError as error:
            raise BedError(f"{self.name} cannot be started: {error.strerror}") from error
        except asyncio.CancelledError:
            self._ending = True
            if not launch.done():
                await asyncio.wait({launch})
            await self.stop()
            raise
        if self._match is None:
            raise self._failure()
        return self._match

    async def kill(self) -> None:
        """Send it SIGKILL, if it has been started, and wait for its end."""
        if self._watching is not None:
            self._ending = True
            self._signal(signal.SIGKILL)
            await self.wait()

    async def wait(self) -> int:
        """Wait until it has ended and all that it said has been handed over; return its code."""
        await asyncio.wait({self._of_watching})
        return cast(int, self.code)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if it or what it started is not gone in time."""
        if self._watching is None:
            return
        self._ending = True
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait({self._watching}, timeout=self._stop_time)
        finally:
            if not self._watching.done():
                self._kill_all()
                await asyncio.wait({self._watching}, timeout=_KILL_TIME)
        await asyncio.wait_for(self._watching, _KILL_TIME)

    # -- while it runs ------------------------------------------------------------------------

    async def _launch(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._prefix(),
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.name}")
        if self._ending:  # whoever started it may not even wait for the end
            self._signal(signal.SIGKILL)

    async def _watch(self) -> None:
        """Hand over what it says, and notice its end."""
        process = self._of_process
        outputs = [
            asyncio.create_task(
                self._hand_over(cast(asyncio.StreamReader, stream), on_line),
                name=f"output of {self.name}",
            )
            for stream, on_line in (
                (process.stdout, self._on_stdout),
                (process.stderr, self._on_stderr),
            )
        ]
        code = await process.wait()
        await asyncio.wait(outputs)
        self._started.set()
        if self._on_end is not None and self._match is not None and not self._ending:
            self._on_end(code)
        for output in outputs:
            output.result()

    async def _hand_over(self, output: asyncio.StreamReader, on_line: OnLine) -> None:
        rest = b""
        while chunk := await output.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line.decode(errors="replace"), on_line)
        if rest:
            self._take(rest.decode(errors="replace"), on_line)

    def _take(self, line: str, on_line: OnLine) -> None:
        if self._match is not None:
            on_line(line)
            return
        self._held.append((on_line, line))
        self._match = self._ready.search(line)
        if self._match is not None:
            self._started.set()
            for callback, earlier in self._held:
                callback(earlier)

    def _failure(self) -> BedError:
        code = self.code or 0
        # It says the same in plain words after its log has ended.
        said = "\n".join(line for _, line in self._held if not line.startswith("{"))
        taken = code == _CANNOT_BIND and _PORT_TAKEN in said
        error = PortTakenError if taken else BedError
        return error(f"{self.name} did not start ({in_words(code)}): {said}")

    # -- small things -------------------------------------------------------------------------

    def _prefix(self) -> Sequence[str]:
        if sys.platform != "linux":
            return ()
        return (sys.executable, "-I", "-S", _PDEATHSIG, str(os.getpid()))

    def _signal(self, number: signal.Signals) -> None:
        # It may have ended by itself.
        with contextlib.suppress(ProcessLookupError):
            self._of_process.send_signal(number)

    def _kill_all(self) -> None:
        """End it and what it has started.

        Its output is still open, so something of its process group is there: the number has not
        become somebody else's.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def _of_process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise BedError(f"{self.name} has not been started")
        return self._process

    @property
    def _of_watching(self) -> asyncio.Task[None]:
        if self._watching is None:
            raise BedError(f"{self.name} has not been started")
        return self._watching


def in_words(code: int) -> str:
    """Return what an exit code says, as in "killed by SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"
