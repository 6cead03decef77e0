"""Peers that do on demand what real ones do by accident, over raw non-blocking sockets.

A test drives both ends itself: it opens a `Peer` to the program, accepts the program's own
connection from a `Server`, and says byte by byte and FIN by FIN what happens. All waits are for
events, and all have the same generous time-out.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable
from random import Random
from typing import Literal, Self

Address = tuple[str, int]
Ending = Literal["fin", "reset"]
Script = Callable[["Peer"], Awaitable[None]]

PATIENCE = 30.0
"""Seconds until a wait is a failure."""

_CHUNK = 256 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that sends no event."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (there is no event, that is the point)
            await asyncio.sleep(0.002)


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which a missing, doubled or moved piece shows."""
    return Random(seed).randbytes(size)


class Peer:
    """One end of a TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._was_reset = False

    @classmethod
    async def connect(
        cls, address: Address, *, receive_buffer: int = 0, send_buffer: int = 0
    ) -> Self:
        """Connect; a buffer size in bytes makes this a slow peer (0 leaves it to the kernel)."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        peer = cls(sock)
        try:
            async with asyncio.timeout(PATIENCE):
                await peer._loop.sock_connect(sock, address)
        except ConnectionResetError:
            peer._was_reset = True  # it was accepted, and reset before the kernel told us so
        except BaseException:
            sock.close()
            raise
        return peer

    @property
    def port(self) -> int:
        """The local port."""
        port: int = self.sock.getsockname()[1]
        return port

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`. Raises OSError if the other end has reset the connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._loop.sock_sendall(self.sock, data)
        except (ConnectionResetError, BrokenPipeError):
            self._was_reset = True  # told only once: the next read sees an end like a FIN
            raise

    async def receive_some(self) -> bytes:
        """Return what is there, or ``b""`` for a FIN. Raises ConnectionResetError."""
        async with asyncio.timeout(PATIENCE):
            data: bytes = await self._loop.sock_recv(self.sock, _CHUNK)
        if not data and self._was_reset:
            raise ConnectionResetError
        return data

    async def receive(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        data = bytearray()
        while len(data) < size:
            async with asyncio.timeout(PATIENCE):
                more = await self._loop.sock_recv(self.sock, min(_CHUNK, size - len(data)))
            assert more, f"a FIN after {len(data)} bytes, {size} were expected"
            data += more
        return bytes(data)

    async def until_end(self) -> tuple[bytes, Ending]:
        """Return all that still comes, and how it ends."""
        chunks = []
        try:
            while chunk := await self.receive_some():
                chunks.append(chunk)
        except ConnectionResetError:
            return b"".join(chunks), "reset"
        return b"".join(chunks), "fin"

    async def ending(self) -> Ending:
        """Wait for the end, before which nothing more may come, and say what it was."""
        data, ending = await self.until_end()
        assert not data, f"{len(data)} bytes more before the {ending}: {data[:80]!r}"
        return ending

    def send_what_fits(self, data: memoryview) -> int:
        """Send without waiting; return how many bytes the kernel took."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def put(self, data: bytes) -> None:
        """Send all of `data` without an await, so that nobody else runs before what comes next."""
        assert self.send_what_fits(memoryview(data)) == len(data)

    def unacknowledged(self) -> int:
        """Bytes sent that the other end's kernel has not got yet."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    async def delivered(self) -> None:
        """Wait until the other end's kernel has everything that was sent."""
        await eventually(lambda: self.unacknowledged() == 0)

    async def flood(self, payload: bytes) -> int:
        """Send of `payload` what goes until all buffers on the way are full; return the bytes.

        They are full when nothing has moved for half a second.
        """
        view, sent, still = memoryview(payload), 0, 0
        while still < 50:
            more = self.send_what_fits(view[sent : sent + _CHUNK])
            sent += more
            still = 0 if more else still + 1
            # No event tells that nothing will move: it is looked at, half a second long.
            await asyncio.sleep(0 if more else 0.01)
        return sent

    def fin(self) -> None:
        """End this direction; the other one stays open."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a RST; what was sent and not delivered is lost."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.sock.close()

    def close(self) -> None:
        """Close as programs do: a FIN, or a RST if received bytes are left unread."""
        self.sock.close()


class Server:
    """A backend whose connections the test accepts one by one, or gives to a script."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, receive_buffer: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.setblocking(False)
        self._socket.bind((host, port))
        self._socket.listen(1024)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: list[Peer] = []
        self.host, self.port = self._socket.getsockname()[:2]

    @property
    def accepted(self) -> int:
        """How many connections have been accepted so far."""
        return len(self._peers)

    async def accept(self) -> Peer:
        """Wait for the next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._accept()

    async def _accept(self) -> Peer:
        sock, _ = await self._loop.sock_accept(self._socket)
        peer = Peer(sock)
        self._peers.append(peer)
        return peer

    def serve(self, script: Script) -> Server:
        """From now on, accept every connection and run `script` on it."""
        self._own(self._serve(script))
        return self

    async def _serve(self, script: Script) -> None:
        while True:
            self._own(_play(script, await self._accept()))

    def _own(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop listening and close what was accepted."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()
        for peer in self._peers:
            peer.close()


async def _play(script: Script, peer: Peer) -> None:
    try:
        await script(peer)
    except OSError:
        pass  # the other end left
    finally:
        peer.close()


async def echo(peer: Peer) -> None:
    """The script of a server that sends back what it gets, and then its FIN."""
    while data := await peer.receive_some():
        await peer.send(data)


def greet(name: str) -> Script:
    """Return the script of a server that says its name at once, and waits for the client's end."""

    async def script(peer: Peer) -> None:
        await peer.send(name.encode())
        await peer.until_end()

    return script


class RefusingPort:
    """A port that refuses: bound, so that nobody else gets it, but not listening."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.host, self.port = self._socket.getsockname()

    def listen(self) -> None:
        """Stop refusing. Connections are made by the kernel and nobody accepts them."""
        self._socket.listen(1024)

    async def close(self) -> None:
        """Give the port back."""
        self._socket.close()


class Blackhole:
    """A port whose SYNs are dropped, because its queue of connections is full."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.host, self.port = self._socket.getsockname()
        self._fillers: list[socket.socket] = []
        self.fill()

    def fill(self) -> None:
        """Drop SYNs from now on."""
        self._socket.listen(0)
        while not self._full():
            self._fillers.append(socket.create_connection((self.host, self.port), PATIENCE))

    def relieve(self) -> None:
        """Answer SYNs again (a dropped one is sent again by its kernel, after 1 s)."""
        self._socket.listen(1024)

    def _full(self) -> bool:
        # tcp_info of a listener: tcpi_unacked is the length of its queue, tcpi_sacked the limit,
        # and the queue is full when it is longer than that (sk_acceptq_is_full).
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        length, limit = struct.unpack_from("=II", info, 24)
        return bool(length > limit)

    async def close(self) -> None:
        """Close everything."""
        self.__exit__()

    def __enter__(self) -> Blackhole:
        return self

    def __exit__(self, *error: object) -> None:
        for sock in (*self._fillers, self._socket):
            sock.close()


class Net:
    """Opens peers for a test, and closes what it opened."""

    def __init__(self) -> None:
        self._clients: list[Peer] = []
        self._listening: list[Server | RefusingPort | Blackhole] = []

    async def client(
        self, address: Address, *, receive_buffer: int = 0, send_buffer: int = 0
    ) -> Peer:
        """Connect to `address`."""
        peer = await Peer.connect(address, receive_buffer=receive_buffer, send_buffer=send_buffer)
        self._clients.append(peer)
        return peer

    def server(self, host: str = "127.0.0.1", port: int = 0, *, receive_buffer: int = 0) -> Server:
        """Listen on a free port, or on `port`."""
        server = Server(host, port, receive_buffer=receive_buffer)
        self._listening.append(server)
        return server

    def refusing(self) -> RefusingPort:
        """Return a port that refuses connections."""
        port = RefusingPort()
        self._listening.append(port)
        return port

    def blackhole(self) -> Blackhole:
        """Return a port that lets connections hang."""
        hole = Blackhole()
        self._listening.append(hole)
        return hole

    async def close(self) -> None:
        """Close all of it."""
        for peer in self._clients:
            peer.close()
        for listening in self._listening:
            await listening.close()
