"""The balancer one would write first: `start_server`, StreamReader and StreamWriter.

It has no limits, no health, no time-outs and no log. It is what `bench.streams` compares with.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamWriter

import uvloop


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _main(backend_port: int) -> None:
    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", backend_port)
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
        back.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(int(sys.argv[1])))
