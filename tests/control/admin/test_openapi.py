from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from schemathesis.generation import GenerationMode

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.openapi import openapi
from tcplb.control.admin.routes import ROUTES
from tcplb.control.admin.server import AdminServer
from tcplb.control.admin.table import API
from tests.control.admin.client import TOKEN
from tests.control.admin.fake import FakeControl

DOCUMENT = openapi()


def test_it_is_openapi() -> None:
    validate(json.loads(json.dumps(DOCUMENT)), cls=OpenAPIV31SpecValidator)


def test_it_has_every_route_and_no_other() -> None:
    described = {
        (method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item
    }
    assert described == {(route.method, API + route.path) for route in ROUTES}
    assert len(described) == len(ROUTES) == 21


def operations() -> list[dict[str, Any]]:
    return [operation for item in DOCUMENT["paths"].values() for operation in item.values()]


def test_every_operation_has_a_name_of_its_own_and_a_summary() -> None:
    names = [operation["operationId"] for operation in operations()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith(".") for operation in operations())


def test_what_changes_something_needs_the_token() -> None:
    for item in DOCUMENT["paths"].values():
        for method, operation in item.items():
            is_free = {} in operation["security"]
            assert is_free is (method == "get")


def test_every_schema_is_described() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert {"Status", "PoolView", "Problem", "StateChange"} <= set(schemas)
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []


@contextmanager
def served() -> Iterator[str]:
    """A server in a thread; a balancer that is fresh, and its address."""
    ready, addresses = threading.Event(), list[str]()
    loop = asyncio.new_event_loop()
    ended = loop.create_future()

    async def life() -> None:
        config = AdminConfig(bind="127.0.0.1:0")
        # Each look at the clock is another second: so many wrong tokens are never too many.
        clock = itertools.count().__next__
        server = AdminServer(FakeControl(), config, token=TOKEN, now=clock)
        await server.start()
        addresses.append(server.address)
        ready.set()
        await ended
        await server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(life())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    try:
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(ended.set_result, None)
        thread.join(20)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as address:
        yield address


schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


IN_WORDS = ("/state", "/backends/{pool}", "/explain", "/sessions")
"""Take texts that no schema says all about, such as addresses, and which so may be wrong."""

positive_data_acceptance: Any = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")


# A stream has no end, and a schema of it says nothing of a message.
@schema.exclude(path_regex="/stream$").parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_the_server_does_is_what_the_document_says(
    case: schemathesis.Case[Any], address: str
) -> None:
    in_words = case.operation.label.endswith(IN_WORDS)
    case.call_and_validate(
        base_url=address,
        # The type is needed without a body too, which the document can say in words only.
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        excluded_checks=[positive_data_acceptance] if in_words else [],
    )
