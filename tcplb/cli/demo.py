"""`tcplb demo`: echo backends and the balancer in one terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import click

from tcplb.cli.exits import Exit

_TRY = """
The balancer listens on http://localhost:9090. Try, in another terminal:

  curl http://localhost:9090/hello                     a path always meets the same backend
  curl -x http://localhost:9090 http://any.name/hello  the same, as through a proxy
  kill -9 PID                                          a pid from above: its paths move on
  echo-backends --ports 8082                           bring it back: its paths come back too

^C stops everything.
"""
_STOP_TIME = 5.0
"""Seconds that a child has to end after SIGTERM."""


@dataclass(frozen=True, slots=True)
class _Command:
    """A process of the demo, and how its output says that it is ready."""

    arguments: tuple[str, ...]
    ready_text: str
    ready_lines: int


_COMMANDS = (
    _Command(("-m", "echo_backends", "--ports", "8081-8084"), "backend 127.0.0.1:", 4),
    _Command(
        ("-m", "tcplb", "serve", "--strategy", "hash", "--drain-timeout", "1s"), "listening on", 1
    ),
)


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    output: asyncio.StreamReader
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def show_output(self, command: _Command) -> None:
        """Pass its output on, and notice in it when it is ready."""
        seen = 0
        async for line in self.output:
            # Whoever read it may have left: the child must not wait for us because of that.
            with contextlib.suppress(OSError):
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            seen += command.ready_text in line.decode(errors="replace")
            if seen >= command.ready_lines:
                self.ready.set()


@click.command()
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Run four echo backends (8081 to 8084) and the balancer (9090) until ^C."""
    ctx.exit(asyncio.run(_demo()))


async def _demo() -> int:
    stop = asyncio.Event()
    # SIGHUP is a terminal that is closed: the children, in their own sessions, do not get it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as children:
        for command in _COMMANDS:
            child = await children.enter_async_context(_running(command))
            await _first_of(child.ready.wait(), child.process.wait(), stop.wait())
            if stop.is_set():
                return Exit.OK
            if not child.ready.is_set():
                return await child.process.wait()  # it has said why
        click.echo(_TRY)
        await _first_of(child.process.wait(), stop.wait())
    return Exit.OK if stop.is_set() else Exit.FAILURE


@asynccontextmanager
async def _running(command: _Command) -> AsyncIterator[_Child]:
    """Run a command in a session of its own, so that ^C reaches it through us, in order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command.arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    child = _Child(process, cast(asyncio.StreamReader, process.stdout))
    output = asyncio.create_task(child.show_output(command), name="demo output")
    try:
        yield child
    finally:
        await _stop(process)
        await output


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIME)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _first_of(*waits: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.create_task(wait, name="demo wait") for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
