"""One direction of a session on the `splice` engine.

Small reads go through one buffer that all pumps share: what is received is sent on at once, so
nothing is kept, and no object is made for the bytes. Only what the other side does not take is
copied out, and then this direction reads no more until it is gone: that is all of the
back-pressure. A read that fills the buffer means bulk, which goes through a pipe and never comes
into this process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator
from socket import MSG_DONTWAIT

from tcplb.dataplane.pipes import Pipe, PipePool
from tcplb.dataplane.poller import Attach
from tcplb.dataplane.relay import FIN, PumpEnd
from tcplb.dataplane.splice_connection import SpliceConnection

BUFFER_SIZE = 64 * 1024
CHUNK = 64 * 1024
"""Bytes that are spliced at once. More are dearer a byte: docs/performance.md."""

TURN = 1024 * 1024
"""Bytes that one direction may move before all others have had their turn."""

SMALL = 32 * 1024
"""Fewer bytes than this between two waits are no bulk any more."""

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_BUFFER = memoryview(bytearray(BUFFER_SIZE))

log = logging.getLogger("tcplb.session")

Pump = Generator[Attach | None, None, None]
Ended = Callable[[SpliceConnection, PumpEnd], None]


def pump(  # noqa: C901 - in one piece: it runs for every piece of bytes, a call takes 50 ns
    source: SpliceConnection, sink: SpliceConnection, pipes: PipePool, ended: Ended
) -> Pump:
    """Carry bytes from `source` to `sink` until one of them ends, and tell `ended` of it.

    It is the `reader` of its source and the `writer` of its sink; ``yield None`` waits for what
    it has just said that it wants.
    """
    receive_into, send = source.socket.recv_into, sink.socket.send
    end: PumpEnd | None = None
    try:
        while end is None:
            if not source.readable:
                source.wants_input = True
                yield None
            try:
                size = receive_into(_BUFFER, 0, MSG_DONTWAIT)
            except BlockingIOError:
                source.readable = False
                continue
            except OSError as error:
                source.failed(error)
                end = PumpEnd.SOURCE_RESET
                break
            if not size:
                end = PumpEnd.SOURCE_RESET if source.cut_short else FIN
                break
            if size < BUFFER_SIZE and not source.read_on:
                # A short read has emptied the queue: no need to be told so by EAGAIN, or by a 0
                # if the FIN was seen behind it.
                source.readable = False
                if source.fin_seen:
                    end = FIN
            try:
                sent = send(_BUFFER[:size], MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                sink.failed(error)
                end = PumpEnd.SINK_RESET
                break
            source.moved += sent
            if sent < size and not (yield from _send_rest(source, sink, bytes(_BUFFER[sent:size]))):
                end = PumpEnd.SINK_RESET
            elif size == BUFFER_SIZE:
                end = yield from _bulk(source, sink, pipes)
    except Exception:
        log.exception("internal error in a session; the others go on")
        end = PumpEnd.BUG
    ended(source, end)


def _send_rest(
    source: SpliceConnection, sink: SpliceConnection, rest: bytes
) -> Generator[None, None, bool]:
    """Send what the sink did not take at once; False if it was reset."""
    sink.held = len(rest)
    while rest:
        sink.wants_output = True
        yield None
        try:
            sent = sink.socket.send(rest, MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError as error:
            sink.failed(error)
            return False
        source.moved += sent
        rest = rest[sent:]
        sink.held = len(rest)
    return True


def _bulk(
    source: SpliceConnection, sink: SpliceConnection, pipes: PipePool
) -> Generator[Attach | None, None, PumpEnd | None]:
    """Splice until reads get small (None) or one side ends; None also without a pipe."""
    # The kernel's own flag, for there is no MSG_DONTWAIT for splice(2).
    source.socket.setblocking(False)
    sink.socket.setblocking(False)
    moved, end = SMALL, None
    while moved >= SMALL and end is None:
        if not source.readable:
            source.wants_input = True
            yield None
        # Urgent data stops splice(2), and not recv(2).
        pipe = None if source.read_on else pipes.take()
        if pipe is None:
            yield source.poller.let_others_run  # copying in turns as well
            return None
        before = source.moved
        try:
            end = yield from _splice(source, sink, pipe)
        finally:
            pipes.give_back(pipe)  # nobody keeps one while there is nothing to move
        moved = source.moved - before
    return end


def _splice(
    source: SpliceConnection, sink: SpliceConnection, pipe: Pipe
) -> Generator[Attach | None, None, PumpEnd | None]:
    """Splice until there is nothing to read (None), or one side ends."""
    this_turn = 0
    while True:
        try:
            size = os.splice(source.descriptor, pipe.into, CHUNK, flags=_FLAGS)
        except BlockingIOError:
            source.readable = source.read_on
            return None
        except OSError as error:
            source.failed(error)
            return PumpEnd.SOURCE_RESET
        if not size:  # a FIN, or urgent data next: a read will tell
            return None
        pipe.held = sink.held = size
        if not (yield from _empty(pipe, source, sink)):
            return PumpEnd.SINK_RESET
        this_turn += size
        if this_turn >= TURN:
            yield source.poller.let_others_run
            this_turn = 0


def _empty(
    pipe: Pipe, source: SpliceConnection, sink: SpliceConnection
) -> Generator[None, None, bool]:
    """Send what is in the pipe; False if the sink was reset."""
    while pipe.held:
        try:
            sent = os.splice(pipe.out_of, sink.descriptor, pipe.held, flags=_FLAGS)
        except BlockingIOError:
            sink.wants_output = True
            yield None
            continue
        except OSError as error:
            sink.failed(error)
            return False
        pipe.held -= sent
        sink.held = pipe.held
        source.moved += sent
    return True
