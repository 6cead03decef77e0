"""Whatever the chunks and whoever ends first, every byte arrives, in order, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import Ending, Net, Peer, pattern

SIZES = st.one_of(st.integers(0, 2000), st.integers(0, 300_000))


@st.composite
def parts(draw: st.DrawFn, seed: int) -> list[bytes]:
    payload = pattern(draw(SIZES), seed)
    cuts = draw(st.lists(st.integers(0, len(payload)), max_size=12))
    return [payload[start:end] for start, end in pairwise(sorted({0, *cuts, len(payload)}))]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    up=parts(1),
    down=parts(2),
    ends_first=st.sampled_from(["client", "backend", "whoever is done"]),
    pauses=st.lists(st.booleans(), min_size=1, max_size=5),
)
async def test_every_byte_arrives_in_order(  # noqa: PLR0917 (hypothesis passes the last four)
    net: Net,
    balancer: MakeBalancer,
    up: list[bytes],
    down: list[bytes],
    ends_first: str,
    pauses: list[bool],
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    client_sent, backend_sent, nobody = asyncio.Event(), asyncio.Event(), asyncio.Event()
    nobody.set()
    # Who ends second waits for the FIN of the first to arrive.
    client_after = backend_sent if ends_first == "backend" else nobody
    backend_after = client_sent if ends_first == "client" else nobody

    async with asyncio.TaskGroup() as group:
        group.create_task(_send(client, up, pauses, client_after))
        group.create_task(_send(upstream, down, pauses[::-1], backend_after))
        at_client = group.create_task(_read(client, backend_sent))
        at_backend = group.create_task(_read(upstream, client_sent))

    assert at_client.result() == (b"".join(down), "fin")
    assert at_backend.result() == (b"".join(up), "fin")
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert record.bytes_up == sum(map(len, up))
    assert record.bytes_down == sum(map(len, down))
    client.close()
    await lb.close()


async def _send(
    peer: Peer, parts: Sequence[bytes], pauses: Sequence[bool], after: asyncio.Event
) -> None:
    for number, part in enumerate(parts):
        await peer.send(part)
        if pauses[number % len(pauses)]:
            await asyncio.sleep(0)  # lets the balancer see this part by itself
    await after.wait()
    peer.fin()


async def _read(peer: Peer, ended: asyncio.Event) -> tuple[bytes, Ending]:
    result = await peer.until_end()
    ended.set()
    return result
