"""Every asynchronous test of this folder runs on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import uvloop

from tests.echo_backends.client import Client


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects clients, and closes them after the test."""
    clients: list[Client] = []

    async def connect_client(
        port: int, host: str = "127.0.0.1", *, receive_buffer: int = 0
    ) -> Client:
        client = await Client.connect(host, port, receive_buffer)
        clients.append(client)
        return client

    yield connect_client
    for client in clients:
        client.close()
