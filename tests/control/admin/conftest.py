from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.server import AdminServer
from tests.control.admin.client import TOKEN, Client
from tests.control.admin.fake import FakeControl

Serve = Callable[..., Awaitable[Client]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on both loops: the supervisor's, and that of a system without uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest_asyncio.fixture
async def serve(control: FakeControl) -> AsyncIterator[Serve]:
    """Start a server for `control`, and return a client for it."""
    servers = []

    async def start(config: AdminConfig | None = None, **arguments: Any) -> Client:
        config = config or AdminConfig(bind="127.0.0.1:0")
        server = AdminServer(control, config, token=TOKEN, **arguments)
        await server.start()
        servers.append(server)
        return Client(server)

    yield start
    for server in servers:
        await server.close()


@pytest_asyncio.fixture
async def client(serve: Serve) -> Client:
    """A client of a server with the usual settings."""
    return await serve()
