from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tcplb.config.changes import RuntimeChanges, SetWeight
from tcplb.config.models import Config
from tcplb.control.upgrade import VARIABLE, Predecessor, Successor, UpgradeError
from tests.dataplane.harness import open_fds
from tests.processes import WAIT

CHANGES = RuntimeChanges().with_change(
    SetWeight("web", "a", 5),
    Config.model_validate(
        {
            "listeners": [{"bind": "127.0.0.1:0", "pool": "web"}],
            "pools": {"web": {"backends": [{"name": "a", "address": "127.0.0.1:80"}]}},
        }
    ),
)


class Old:
    """The old process's end of the channel."""

    def __init__(self, stack: ExitStack) -> None:
        self.channel, self._theirs = map(stack.enter_context, socket.socketpair())
        self.channel.settimeout(20)
        stack.callback(self._close)
        self._made: Predecessor | None = None

    def say(self, **will: Any) -> None:
        whole = {"turns": 7, "changes": CHANGES.to_json()} | will
        self.channel.sendall(json.dumps(whole).encode() + b"\n")

    def say_without_end(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # until nobody listens any more
            self.channel.sendall(b'{"turns": "')
            while True:
                self.channel.sendall(b"7" * 1024 * 1024)

    def successor(self) -> Predecessor | None:
        """What the new process makes of it."""
        self._theirs.set_inheritable(True)  # as what is passed on is
        environ = {VARIABLE: str(self._theirs.detach()), "PATH": "/bin"}
        self._made = Predecessor.from_environment(environ)
        assert environ == {"PATH": "/bin"}
        return self._made

    def _close(self) -> None:
        if self._made is not None:
            for channel in (self._made._channel, *self._made._older):
                channel.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def old(stack: ExitStack) -> Old:
    return Old(stack)


def python(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)


def adopted(old: Old) -> Predecessor:
    made = old.successor()
    assert made is not None
    return made


def test_nobody_has_started_this_one() -> None:
    assert Predecessor.from_environment({}) is None


def test_it_tells_what_it_leaves(old: Old) -> None:
    old.say(admin=9, drains=[["web", "a", 1.0, None, 10.0]])
    made = adopted(old)
    assert (made.turns, made.admin, made.changes) == (7, 9, CHANGES)
    assert made.drains == [["web", "a", 1.0, None, 10.0]]
    assert not made.has_left


def test_an_older_version_may_tell_less(old: Old) -> None:
    old.say()
    made = adopted(old)
    assert (made.admin, made.drains, len(made.channels)) == (None, [], 1)


def test_the_channel_is_for_no_process_of_ours(old: Old) -> None:
    old.say()
    (channel,) = adopted(old).channels
    assert not channel.get_inheritable()


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"7\n",
        b"{}\n",
        b'{"turns": 7}\n',
        b'{"turns": 7, "changes": [{"change": "x"}]}\n',
        b'{"turns": 7, "changes": [], "older": ["x"]}\n',
        b'{"turns": 7, "changes": [], "older": 3}\n',
        b"\xff\n",
    ],
)
def test_with_what_makes_no_sense_this_one_does_not_serve(old: Old, said: bytes) -> None:
    old.channel.sendall(said)
    with pytest.raises(UpgradeError, match="makes no sense to this version"):
        old.successor()
    assert old.channel.recv(1) == b""


def test_with_more_than_can_be_read_this_one_does_not_serve(old: Old) -> None:
    # It is there, so it is not gone: both would serve.
    saying = threading.Thread(target=old.say_without_end)
    saying.start()
    with pytest.raises(UpgradeError, match="makes no sense to this version"):
        old.successor()
    saying.join(WAIT)


@pytest.mark.parametrize("said", [b"", b'{"turns": 7'])
def test_one_that_was_killed_before_it_said_all_leaves_this_one_to_serve(
    old: Old, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    old.channel.sendall(said)
    old.channel.shutdown(socket.SHUT_WR)
    assert old.successor() is None
    assert "the old process is gone" in caplog.text


@pytest.mark.parametrize("value", ["", "x", "-1", "99999", "9" * 40, "1.5"])
def test_a_variable_that_names_no_channel_is_told(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {VARIABLE: value}
    assert Predecessor.from_environment(environ) is None
    assert environ == {}
    assert f"{VARIABLE} says nothing that can be used" in caplog.text


async def test_it_hears_that_this_one_serves_and_that_it_ends(old: Old) -> None:
    old.say()
    made = adopted(old)
    made.ready()
    assert made.has_left
    assert old.channel.recv(100) == b"ready\n"
    gone = asyncio.ensure_future(made.gone())
    made.ending()
    assert old.channel.recv(100) == b""
    await asyncio.sleep(0)
    assert not gone.done()
    old.channel.close()
    await asyncio.wait_for(gone, 20)


async def test_one_that_is_gone_is_told_nothing(old: Old, caplog: pytest.LogCaptureFixture) -> None:
    old.say()
    made = adopted(old)
    old.channel.close()
    assert made.channels == []
    made.ready()
    assert "the old process is gone" in caplog.text
    made.ending()
    await asyncio.wait_for(made.gone(), 20)


async def test_those_before_it_are_told_of_the_end_and_waited_for_too(
    stack: ExitStack, old: Old
) -> None:
    older, handed_on = map(stack.enter_context, socket.socketpair())
    gone_already, also_handed_on = map(stack.enter_context, socket.socketpair())
    gone_already.close()
    old.say(older=[handed_on.detach(), also_handed_on.detach()])
    made = adopted(old)
    assert len(made.channels) == 2
    made.ready()
    older.setblocking(False)
    with pytest.raises(BlockingIOError):
        older.recv(1)
    made.ending()
    older.setblocking(True)
    assert older.recv(1) == b""
    old.channel.close()
    gone = asyncio.ensure_future(made.gone())
    await asyncio.sleep(0)
    assert not gone.done()
    older.close()
    await asyncio.wait_for(gone, 20)


async def test_it_hears_when_logs_are_to_be_opened_anew(old: Old) -> None:
    old.say()
    made = adopted(old)
    made.ready()
    assert old.channel.recv(100) == b"ready\n"
    old.channel.setblocking(False)
    process = python("")
    successor = Successor(process.pid, old.channel, b"")
    reopened = asyncio.Event()
    gone = asyncio.ensure_future(successor.gone(reopened.set))
    made.reopen()
    await asyncio.wait_for(reopened.wait(), 20)
    assert not gone.done()
    made.ending()
    await asyncio.wait_for(gone, 20)
    process.communicate(timeout=20)


async def test_of_one_that_has_ended_no_descriptor_is_left(old: Old) -> None:
    descriptors = open_fds()
    process = python("input()")
    successor = Successor(process.pid, old.channel, b"")
    process.communicate(b"\n", timeout=20)  # and so its number is free
    old.channel.setblocking(False)
    old._theirs.close()
    with pytest.raises(UpgradeError, match="ended before it was ready"):
        await successor.ready()
    assert open_fds() <= descriptors


async def test_one_that_hangs_up_and_goes_on_is_ended() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        with python("input()") as process:
            theirs.close()
            with pytest.raises(UpgradeError, match=r"ended before it was ready"):
                await Successor(process.pid, ours, b"will\n").ready()
            assert process.wait(20) == -signal.SIGTERM


def test_the_environment_of_the_process_is_one_too(old: Old) -> None:
    old.say()
    os.environ["TCPLB_TEST_ONLY"] = "1"
    try:
        assert Predecessor.from_environment(os.environ) is None
    finally:
        del os.environ["TCPLB_TEST_ONLY"]
