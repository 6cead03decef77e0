"""Whatever the chunks, the pipes and the pace of the readers, every byte arrives, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_pump import BUFFER_SIZE
from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import MakeBalancer, backend, pipes_lent
from tests.peers import Net, Peer, pattern

DATA = pattern(40 * BUFFER_SIZE + 40)
SIZES = st.one_of(
    st.builds(  # about the sizes at which the way changes
        lambda times, more: max(0, times * BUFFER_SIZE + more),
        st.sampled_from([0, 1, 2, 4, 16, 32]),
        st.integers(-2, 2),
    ),
    st.integers(0, 40 * BUFFER_SIZE),
)


@st.composite
def parts(draw: st.DrawFn, start: int) -> list[bytes]:
    size = draw(SIZES)
    payload = DATA[start : start + size]
    near = st.builds(
        lambda times, more: min(max(0, times * BUFFER_SIZE + more), size),
        st.integers(0, 8),
        st.integers(-1, 1),
    )
    cuts = draw(st.lists(st.one_of(near, st.integers(0, size)), max_size=12))
    return [payload[begin:end] for begin, end in pairwise(sorted({0, *cuts, size}))]


@pytest.fixture(params=[0, 1, 64])
async def engine(request: pytest.FixtureRequest) -> SpliceEngine:
    return SpliceEngine(request.param)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    up=parts(0),
    down=parts(20),
    pauses=st.lists(st.booleans(), min_size=1, max_size=5),
    reads=st.lists(st.sampled_from([1000, BUFFER_SIZE, 1024 * 1024]), min_size=1, max_size=4),
    slow=st.sampled_from(["client", "backend", "nobody"]),
)
async def test_every_byte_arrives_in_order(  # noqa: PLR0917 (hypothesis passes the last five)
    net: Net,
    balancer: MakeBalancer,
    up: list[bytes],
    down: list[bytes],
    pauses: list[bool],
    reads: list[int],
    slow: str,
) -> None:
    server = net.server(receive_buffer=32 * 1024 if slow == "backend" else 0)
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=32 * 1024 if slow == "client" else 0)
    upstream = await server.accept()
    async with asyncio.TaskGroup() as group:
        group.create_task(_send(client, up, pauses))
        group.create_task(_send(upstream, down, pauses[::-1]))
        at_client = group.create_task(_read(client, reads))
        at_backend = group.create_task(_read(upstream, reads[::-1]))
    assert at_client.result() == b"".join(down)
    assert at_backend.result() == b"".join(up)
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert (record.bytes_up, record.bytes_down) == (sum(map(len, up)), sum(map(len, down)))
    assert pipes_lent(lb.engine) == 0
    client.close()
    await lb.close()


async def _send(peer: Peer, parts: Sequence[bytes], pauses: Sequence[bool]) -> None:
    for number, part in enumerate(parts):
        await peer.send(part)
        if pauses[number % len(pauses)]:
            await asyncio.sleep(0)  # lets the balancer see this part by itself
    peer.fin()


async def _read(peer: Peer, sizes: Sequence[int]) -> bytes:
    """Read to the FIN, `sizes` bytes at a time."""
    data, loop = bytearray(), asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while more := await loop.sock_recv(peer.sock, sizes[len(data) % len(sizes)]):
            data += more
    return bytes(data)
