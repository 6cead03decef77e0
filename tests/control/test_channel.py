from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tcplb.control.channel import Channel, send_at_once
from tcplb.control.messages import Drain, Failed, Listen, Message, ReopenLogs
from tests.peers import eventually


class End:
    """One end of a channel, and all that came out of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.received: list[tuple[Message, int | None]] = []
        self.ends = 0
        self.channel = Channel(sock, self._take, self._end)

    def messages(self) -> list[Message]:
        return [message for message, _ in self.received]

    def descriptors(self) -> list[int]:
        return [descriptor for _, descriptor in self.received if descriptor is not None]

    def _take(self, message: Message, descriptor: int | None) -> None:
        self.received.append((message, descriptor))

    def _end(self) -> None:
        self.ends += 1


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    one, other = (End(sock) for sock in socket.socketpair())
    yield one, other
    for end in (one, other):
        end.channel.close()
        for descriptor in end.descriptors():
            os.close(descriptor)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def file_with(tmp_path: Path, text: str) -> int:
    path = tmp_path / text
    path.write_text(text)
    return os.open(path, os.O_RDONLY)


async def test_messages_come_whole_and_in_order_both_ways(ends: tuple[End, End]) -> None:
    one, other = ends
    sent: list[Message] = [Failed("x" * size) for size in (0, 1, 70_000, 3)]
    for message in sent:
        one.channel.send(message)
        other.channel.send(message)
    await eventually(lambda: len(one.received) == len(other.received) == len(sent))
    assert one.messages() == other.messages() == sent


async def test_sending_does_not_wait_for_one_that_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    one = End(ours)
    sent: list[Message] = [Failed(f"{number:06}" + "x" * 150_000) for number in range(50)]
    for message in sent:
        one.channel.send(message)  # 7 MB: more than any socket buffer; parts of a message, too
    other = End(theirs)
    await eventually(lambda: len(other.received) == len(sent))
    assert other.messages() == sent
    one.channel.close()
    other.channel.close()


async def test_each_descriptor_comes_with_its_own_message(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    one = End(ours)
    before = open_descriptors()
    filling: list[Message] = [Failed("x" * 10_000) for _ in range(100)]
    for number in range(20):
        for message in filling:
            one.channel.send(message)
        descriptor = file_with(tmp_path, f"file {number}")
        one.channel.send(Listen(number, 0), descriptor)
        os.close(descriptor)  # it may not have been sent yet
    other = End(theirs)
    await eventually(lambda: len(other.received) == 20 * 101)
    came = [(m, d) for m, d in other.received if isinstance(m, Listen)]
    assert [message.set_number for message, _ in came] == list(range(20))
    for number, (_, received) in enumerate(came):
        assert received is not None
        assert os.read(received, 100) == f"file {number}".encode()
        assert not os.get_inheritable(received)
        os.close(received)
    assert open_descriptors() == before
    one.channel.close()
    other.channel.close()


async def test_the_end_is_told_once_and_after_all_messages(ends: tuple[End, End]) -> None:
    one, other = ends
    one.channel.send(ReopenLogs())
    one.channel.send(Drain(1.5))
    one.channel.close()
    await eventually(lambda: other.ends == 1)
    assert other.messages() == [ReopenLogs(), Drain(1.5)]
    other.channel.send(ReopenLogs())  # to nobody
    one.channel.send(ReopenLogs())
    await asyncio.sleep(0)
    assert (one.ends, other.ends) == (0, 1)


async def test_what_could_not_be_sent_is_let_go_of_at_the_end(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    before = open_descriptors()
    one = End(ours)
    descriptor = file_with(tmp_path, "file")
    for _ in range(100):
        one.channel.send(Failed("x" * 10_000))
        one.channel.send(Listen(0, 0), descriptor)
    os.close(descriptor)
    assert open_descriptors() > before + 1
    theirs.close()
    await eventually(lambda: one.ends == 1)
    assert open_descriptors() == before - 2


async def test_one_message_can_be_sent_without_a_loop() -> None:
    ours, theirs = socket.socketpair()
    other = End(theirs)
    send_at_once(ours, Failed("no reason"))
    ours.close()
    await eventually(lambda: other.ends == 1)
    assert other.messages() == [Failed("no reason")]
    send_at_once(theirs, Failed("to nobody"))
