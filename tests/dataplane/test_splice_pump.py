"""What a pump makes of the end of its source."""

from __future__ import annotations

import errno
import os

import pytest

from tcplb.dataplane.pipes import PipePool
from tcplb.dataplane.poller import Poller, resume
from tcplb.dataplane.relay import PumpEnd
from tcplb.dataplane.splice_connection import SpliceConnection
from tcplb.dataplane.splice_pump import pump
from tests.peers import Net


@pytest.mark.parametrize("reset_met_while_writing", [True, False])
async def test_reset_that_a_write_has_met_is_no_fin_for_the_reader(
    net: Net, *, reset_met_while_writing: bool
) -> None:
    """The write takes the error away, so what the kernel then tells looks like bytes and a FIN."""
    server = net.server()
    sender = await net.client((server.host, server.port))
    received = await server.accept()
    other = await net.client((server.host, server.port))
    sent_on = await server.accept()
    await sender.send(b"last bytes")
    await sender.delivered()

    poller = Poller()
    source = SpliceConnection(poller, received.sock.dup())
    sink = SpliceConnection(poller, other.sock.dup())
    source.readable = source.fin_seen = True
    if reset_met_while_writing:
        source.failed(OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
    ended: list[PumpEnd] = []
    carrying = pump(source, sink, PipePool(0), lambda _, end: ended.append(end))
    source.reader = sink.writer = carrying
    resume(carrying)
    assert await sent_on.receive(10) == b"last bytes"
    if reset_met_while_writing:
        assert ended == []  # it reads on: nothing proves that this was all
        sender.fin()
        source.readable = True
        await sender.delivered()
        resume(carrying)
        assert ended == [PumpEnd.SOURCE_RESET]
    else:
        assert ended == [PumpEnd.FIN]
    source.close()
    sink.close()
    poller.close()
