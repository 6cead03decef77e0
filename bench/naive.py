"""The balancer one would write first: `start_server`, StreamReader and StreamWriter, on uvloop.

It has no limits, no health, no time-outs and no log. Run it with the port to listen on and those
of the backends: ``python -m bench.naive PORT BACKEND_PORT...``
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from asyncio import StreamReader, StreamWriter

import uvloop


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _main(port: int, backend_ports: list[int]) -> None:
    ports = itertools.cycle(backend_ports)

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", next(ports))
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
        back.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
