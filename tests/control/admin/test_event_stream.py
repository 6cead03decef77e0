from __future__ import annotations

import asyncio

import pytest

from tcplb.control.admin.connection import Deadlines
from tcplb.control.admin.models import Ended, EventView, Stats
from tcplb.control.admin.server import Bounds
from tests.control.admin.client import Client
from tests.control.admin.conftest import Serve
from tests.control.admin.fake import FakeControl
from tests.peers import eventually

EVENTS = "/api/v1/events/stream"


async def test_a_stream_is_told_at_once_that_it_is_open(client: Client) -> None:
    async with client.stream(EVENTS) as stream:
        assert stream.reply.status == 200
        assert stream.reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await stream.block() == b": nothing new\n\n"


async def test_only_what_is_new(client: Client, control: FakeControl) -> None:
    async with client.stream(EVENTS) as stream:
        await stream.block()
        control.event("health", "one", "web", "b1")
        control.event("operator", "two\nlines")
        number, event = await stream.next()
        assert EventView.model_validate(event).text == "one"
        assert event["number"] == number == 2
        assert (await stream.next())[1]["text"] == "two\nlines"


@pytest.mark.parametrize(
    ("query", "last", "expected"),
    [
        ("?after=0", None, [1, 2, 3]),
        ("?after=2", None, [3]),
        ("", "1", [2, 3]),
        ("?after=0", "2", [3]),  # a browser comes back with the first address
        ("?after=3", None, []),
        ("", "3", []),
        ("?after=4", None, [1, 2, 3]),  # of a process before this one, whose numbers were higher
        ("", "999", [1, 2, 3]),
        ("", "", []),
    ],
)
async def test_where_a_stream_begins(
    client: Client, control: FakeControl, query: str, last: str | None, expected: list[int]
) -> None:
    control.event("server", "two")
    control.event("server", "three")
    async with client.stream(EVENTS + query, Last_Event_ID=last) as stream:
        await stream.block()
        control.event("server", "four")
        assert [(await stream.next())[0] for _ in [*expected, 4]] == [*expected, 4]


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9" * 16, "٣"])
async def test_a_last_event_that_is_no_number(client: Client, last: str) -> None:
    reply = await client.get(EVENTS, Last_Event_ID=last)
    assert reply.status == 400
    assert reply.detail.startswith("Last-Event-ID must be a number")


async def test_figures_once_a_second(client: Client, control: FakeControl) -> None:
    async with client.stream("/api/v1/stats/stream") as stream:
        number, first = await stream.next()
        assert number is None
        assert Stats.model_validate(first) == control.stats()
        control.advance()
        assert Stats.model_validate((await stream.next())[1]) == control.stats()


async def test_the_same_figures_are_not_sent_twice(client: Client, control: FakeControl) -> None:
    control.known_stats = known = control.stats()
    async with client.stream("/api/v1/stats/stream") as stream:
        assert Stats.model_validate((await stream.next())[1]) == known
        asked = control.stats_asked
        await eventually(lambda: control.stats_asked > asked)
        control.advance()
        control.known_stats = control.stats()
        assert Stats.model_validate((await stream.next())[1]) == control.known_stats


async def test_connections_as_they_end(client: Client, control: FakeControl) -> None:
    path = "/api/v1/connections/stream?pool=web&backend=b1&client=10.0.0.0/8&termination=S?"
    record = {"listener": "web", "pool": "web", "backend": "b1"}
    async with client.stream(path + "&listener=web") as stream:
        await stream.block()
        for other in (
            {"pool": "db"},
            {"backend": "b2"},
            {"listener": "db"},
            {"client": "11.0.0.1:5"},
            {"termination": "C-"},
        ):
            control.end(record | {"client": "10.0.0.1:5", "termination": "SD"} | other)
        control.end(record | {"client": "10.0.0.1:7", "termination": "S-"})
        _, message = await stream.next()
        assert Ended.model_validate(message).record["client"] == "10.0.0.1:7"


async def test_nothing_is_shown_as_well(serve: Serve, control: FakeControl) -> None:
    client = await serve(bounds=Bounds(keep_alive=0.05, deadlines=Deadlines()))
    async with client.stream(EVENTS) as stream:
        for _ in range(3):
            assert await stream.block() == b": nothing new\n\n"
        control.event("server", "still here")
        assert (await stream.next())[1]["text"] == "still here"


async def test_head_of_a_stream(client: Client, control: FakeControl) -> None:
    reply = await client.ask("HEAD", "/api/v1/connections/stream")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert control.taps == []


async def test_a_stream_that_fails_ends_and_is_logged(
    client: Client, control: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.stream("/api/v1/connections/stream") as stream:
        await stream.block()
        _, queue = control.taps[0]
        queue.put_nowait(None)  # type: ignore[arg-type] # a bug of the balancer's
        assert await asyncio.wait_for(stream.reader.read(), 20) == b"0\r\n\r\n"
    assert "the stream /api/v1/connections/stream has failed" in caplog.text
