"""One process a port: the backend in this one, or a parent with a child for each.

The parent never listens, so killing a child leaves its port refusing, as a dead server's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from echo_backends.faults import Faults
from echo_backends.server import EchoServer, format_address

RUNTIME_FAILURE = 1
CANNOT_BIND = 4

END_DEADLINE = 2.0
"""Seconds that children have to end after SIGTERM."""

_STDERR = 2


async def serve(host: str, port: int, faults: Faults, parent_pipe: int | None) -> int:
    """Serve one port until a signal, or until the parent is gone; return the exit code.

    `parent_pipe` is the read end of a pipe that nobody writes to: it ends with the parent, however
    the parent ends.
    """
    stop = _stop_on_signals()
    server = EchoServer(faults, host=host, port=port)
    try:
        await server.start()
    except OSError as error:
        reason = error.strerror or str(error)
        _say(f"echo-backends: cannot listen on {server.address}: {reason}", _STDERR)
        return CANNOT_BIND
    if parent_pipe is not None:
        asyncio.get_running_loop().add_reader(parent_pipe, stop.set)
    _say(_backend(server.host, server.port, os.getpid()))
    await stop.wait()
    if parent_pipe is not None:
        asyncio.get_running_loop().remove_reader(parent_pipe)
    await server.close()
    return 0


async def supervise(host: str, ports: Sequence[int], options: Sequence[str]) -> int:
    """Run a child a port, with these command-line options; return the exit code.

    To be run on asyncio's own loop: uvloop's children start with no signal blocked.
    """
    stop = _stop_on_signals()
    read_end, write_end = os.pipe()
    try:
        children = [await _start(host, port, options, read_end) for port in ports]
        return await _watch_all(children, stop)
    finally:
        os.close(read_end)
        os.close(write_end)


def raise_descriptor_limit() -> None:
    """Allow as many open connections as may be had without asking: the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name a limit that they do not grant.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass
class _Child:
    process: asyncio.subprocess.Process
    name: str
    """The line it says when it listens; until then, the same line with the port as asked for."""


async def _start(host: str, port: int, options: Sequence[str], parent_pipe: int) -> _Child:
    command = [sys.executable, "-m", "echo_backends", "--ports", str(port), *options]
    # ^C on a terminal reaches the children as well. They leave it to the parent, and inherit that
    # rather than arrange it, lest it hit one while it starts. The parent gets its own ^C after.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            f"--parent-pipe={parent_pipe}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(parent_pipe,),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return _Child(process, _backend(host, port, process.pid))


async def _watch_all(children: Sequence[_Child], stop: asyncio.Event) -> int:
    watches = [asyncio.create_task(_watch(child, stop), name=child.name) for child in children]
    everyone = asyncio.gather(*watches)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    first: set[asyncio.Future[Any]] = {everyone, stopping}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        await _end(children, watches)
    codes = await everyone
    if CANNOT_BIND in codes:
        return CANNOT_BIND
    return RUNTIME_FAILURE if any(codes) and not stop.is_set() else 0


async def _watch(child: _Child, stop: asyncio.Event) -> int:
    assert child.process.stdout is not None  # noqa: S101 - it was started with a pipe
    line = await child.process.stdout.readline()
    if line:
        child.name = line.decode().rstrip("\n")
        _say(child.name)
    code = await child.process.wait()
    if code == CANNOT_BIND:
        stop.set()  # It has said why.
    elif not stop.is_set():
        _say(f"{child.name} ended: {_reason(code)}", _STDERR)
    return code


async def _end(children: Sequence[_Child], watches: Sequence[asyncio.Task[int]]) -> None:
    _signal(children, signal.SIGTERM)
    await asyncio.wait(watches, timeout=END_DEADLINE)
    _signal(children, signal.SIGKILL)


def _signal(children: Sequence[_Child], number: signal.Signals) -> None:
    for child in children:
        # It may end between the look and the signal.
        with contextlib.suppress(ProcessLookupError):
            if child.process.returncode is None:
                child.process.send_signal(number)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _backend(host: str, port: int, pid: int) -> str:
    return f"backend {format_address(host, port)} pid {pid}"


def _reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _say(line: str, descriptor: int = 1) -> None:
    # One write, so that lines of several processes do not mix. If whoever read them has left
    # (`| head -1`), the backends go on.
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, f"{line}\n".encode())
