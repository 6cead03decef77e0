from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tcplb.config.models import Config
from tcplb.config.settings import load
from tcplb.control.events import Events
from tcplb.control.given_sockets import GivenSockets, Served, given_sockets, hand_over
from tcplb.control.messages import Verdict
from tcplb.control.serving import Serving
from tcplb.control.turns import Turns
from tcplb.errors import BindError, StrategyError
from tcplb.policy.transition import Checked, State, Transition
from tests.control.serving_model import serving_by, text
from tests.processes import WAIT


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Stage:
    def __init__(self, serving: Serving, file: Path) -> None:
        self.serving = serving
        self.file = file

    async def apply(self, *backends: str, **more: str) -> list[str]:
        return await self.serving.apply(self.load(*backends, **more))

    def load(self, *backends: str, **more: str) -> Config:
        self.file.write_text(text(*backends, **more))
        return load(self.file).config

    def names(self) -> list[str]:
        return [backend.name for backend in self.serving.plan.pools[0].backends]

    def ports(self) -> list[int]:
        (listener,) = self.serving.config.listeners
        return [int(where.rpartition(":")[2]) for where in self.serving.endpoints(listener)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    file = tmp_path / "tcplb.toml"
    file.write_text(text("a", "b", rest="workers = 2"))
    with serving_by(file) as (serving, _):
        yield Stage(serving, file)


@pytest.fixture
def given(tmp_path: Path) -> Iterator[tuple[Config, GivenSockets]]:
    """Settings with two listeners and three workers, and two sockets for the first listener."""
    first = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    port = first.getsockname()[1]
    sockets = [first, socket.create_server(("127.0.0.1", port), reuse_port=True)]
    file = tmp_path / "tcplb.toml"
    more = '[[listeners]]\nname = "new"\nbind = "127.0.0.1:0"\npool = "web"'
    file.write_text(text("a", bind=f"127.0.0.1:{port}", more=more, rest="workers = 3"))
    served = [Served(sock, "x", "127.0.0.1", port) for sock in sockets]
    variables = hand_over(served)
    for sock in sockets:
        os.set_inheritable(sock.detach(), True)
    with closing(given_sockets(variables, os.getpid())) as made:
        yield load(file).config, made


@pytest.mark.parametrize("beside_another", [True, False])
async def test_beside_another_process_it_opens_no_more_than_it_must(
    given: tuple[Config, GivenSockets], *, beside_another: bool
) -> None:
    with closing(Turns.create()) as turns:
        config, sockets = given
        with Serving(config, turns, Events(), sockets, beside_another=beside_another) as serving:
            if beside_another:
                assert len(serving.sockets) == 2
                # Nobody comes to this address yet.
                assert len({number for number, _ in serving.sockets[1]}) == 2
                serving.open_for_all()
            assert [len(serving.sockets[number]) for number in range(3)] == [2, 2, 2]


async def test_another_configuration_is_another_plan(stage: Stage) -> None:
    (port,) = stage.ports()
    assert await stage.apply("b", "c", rest="workers = 2") == []
    assert stage.names() == ["b", "c"]
    assert stage.serving.plan.generation == 1
    assert stage.ports() == [port]
    assert stage.serving.plan.pools[0].positions[0] == 1


async def test_a_number_is_free_at_once_where_nobody_counts(stage: Stage) -> None:
    await stage.apply("b", rest="workers = 2")
    await stage.apply("b", "c", rest="workers = 2")
    assert stage.serving.plan.pools[0].positions == (1, 0)


async def test_sockets_come_and_go_in_all_sets(stage: Stage) -> None:
    (port,) = stage.ports()
    gc.collect()  # what tests before this one have left is not to be closed in between
    before = descriptors()
    await stage.apply("a", bind="127.0.0.2:0", rest="workers = 2")
    assert [len(stage.serving.sockets[number]) for number in (0, 1)] == [1, 1]
    (other,) = stage.ports()
    socket.create_connection(("127.0.0.2", other), WAIT).close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        bound = free.getsockname()[1]
    await stage.apply("a", bind=f"127.0.0.1:{bound}", rest="workers = 2")
    assert stage.ports() == [bound]
    assert descriptors() == before
    socket.create_connection(("127.0.0.1", bound), WAIT).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), WAIT)


async def test_what_cannot_be_done_changes_nothing(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        before, plan = descriptors(), stage.serving.plan
        with pytest.raises(BindError):
            await stage.apply("c", bind=f"127.0.0.1:{taken}", rest="workers = 2")
        with pytest.raises(StrategyError):
            await stage.apply("c", more='strategy = "nowhere_at_all:f"', rest="workers = 2")
        assert descriptors() == before
    assert stage.serving.plan is plan
    assert stage.names() == ["a", "b"]
    assert not stage.serving.crew.numbering.backends.leaving
    await stage.apply("a", rest="workers = 2")
    assert stage.serving.plan.generation == 1


async def test_the_level_of_the_log_is_another(stage: Stage) -> None:
    await stage.apply("a", rest='workers = 2\n[log]\nlevel = "error"\n')
    assert logging.getLogger().level == logging.ERROR


def note(serving: Serving, backend: str, state: State | Checked) -> None:
    serving.crew.verdicts.note(Verdict("web", Transition(backend, state, "is out")))


async def test_of_a_backend_that_is_gone_or_moved_nothing_is_kept(stage: Stage) -> None:
    verdicts = stage.serving.crew.verdicts
    for name in "ab":
        note(stage.serving, name, State.EJECTED)
    await stage.apply("b", "c", rest="workers = 2")
    assert [each.transition.backend for each in verdicts.in_force()] == ["b"]
    file = stage.file.read_text().replace("10.0.0.1", "10.0.0.2")
    stage.file.write_text(file)
    await stage.serving.apply(load(stage.file).config)
    assert list(verdicts.in_force()) == []


async def test_what_checks_said_is_taken_back_when_there_are_none_any_more(stage: Stage) -> None:
    check = '[pools.web.check]\ninterval = "1h"\n'
    await stage.apply("a", "b", more=check, rest="workers = 2")
    assert stage.serving.crew.verdicts.down("web", "a") is None
    # The prober has not been started: nobody is down, and nothing is taken back.
    await stage.apply("a", "b", rest="workers = 2")
    assert stage.serving.events.after(0) == []
