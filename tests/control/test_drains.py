from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, cast

import pytest

from tcplb.config.models import Config
from tcplb.control.crew import Crew
from tcplb.control.drains import WINDOW, Drain, Drains
from tcplb.control.events import Events
from tcplb.control.inquiries import (
    Answer,
    CloseBackend,
    Found,
    ListSessions,
    Question,
    SessionFacts,
)
from tests.peers import eventually


def config(**states: str) -> Config:
    backends = [
        {"name": name, "address": "127.0.0.1:80", "state": state} for name, state in states.items()
    ]
    listener = {"bind": "127.0.0.1:0", "pool": "web"}
    return Config.model_validate(
        {"listeners": [listener], "pools": {"web": {"backends": backends}}}
    )


class FakeCrew:
    """Workers by number, each with the instants at which its sessions of backend a began."""

    def __init__(self) -> None:
        self.sessions: dict[int, list[float]] = {0: [], 1: []}
        self.silent: set[int] = set()
        self.closed: list[CloseBackend] = []
        self.looks = 0
        self.broken = False

    @property
    def able(self) -> list[int]:
        return list(self.sessions)

    async def ask(
        self, question: Question, workers: Collection[int] | None = None
    ) -> dict[int, Answer]:
        asked = [each for each in self.able if workers is None or each in workers]
        await asyncio.sleep(0)
        match question:
            case CloseBackend():
                self.closed.append(question)
                return {each: len(self.sessions[each]) for each in asked}
            case ListSessions(wanted):
                self.looks += 1
                if self.broken:
                    raise RuntimeError("a bug")
                assert wanted.pool == "web"
                return {each: self._found(each) for each in asked if each not in self.silent}
        raise AssertionError(question)

    def _found(self, worker: int) -> Found:
        begun = sorted(self.sessions[worker])
        facts = [
            SessionFacts(at, 1, "127.0.0.1", 1, "web", "web", "a", "data", 0, 0, b"")
            for at in begun[:1]
        ]
        return Found(tuple(facts), len(begun))


class Stage:
    """Drains with workers and a clock of their own."""

    def __init__(self) -> None:
        self.crew = FakeCrew()
        self.events = Events()
        self.now = 1000.0
        self.drains = Drains(cast("Crew", self.crew), self.events, now=lambda: self.now, look=0.001)

    def drain(self, name: str = "a") -> Drain:
        drain = self.drains.get("web", name)
        assert drain is not None
        return drain

    async def look_again(self) -> None:
        """Wait until a look has begun and ended that had not begun yet."""
        looks = self.crew.looks
        await eventually(lambda: self.crew.looks >= looks + 2)

    def told(self) -> list[str]:
        return [event.text for event in self.events.after(0)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.drains.close()


async def test_while_nothing_is_drained_nobody_is_asked(stage: Stage) -> None:
    before = asyncio.all_tasks()
    stage.drains.update(config(a="enabled", b="disabled"))
    assert stage.drains.get("web", "a") is None
    assert asyncio.all_tasks() == before


async def test_how_far_it_has_come_and_its_end(stage: Stage) -> None:
    stage.crew.sessions = {0: [990.0, 980.0], 1: [985.0]}
    stage.drains.update(config(a="draining", b="enabled"))
    await stage.look_again()
    drain = stage.drain()
    assert (drain.since, drain.left, drain.oldest, drain.done) == (1000.0, 3, 980.0, False)
    stage.crew.sessions = {0: [], 1: [985.0]}
    await stage.look_again()
    assert (drain.left, drain.oldest) == (1, 985.0)
    stage.crew.sessions[1] = []
    await eventually(lambda: drain.done)
    assert stage.told() == ["backend a of pool web is drained: no connection is left"]
    assert drain.oldest is None
    # From then on nobody is asked any more.
    await eventually(lambda: "drains" not in {each.get_name() for each in asyncio.all_tasks()})


async def test_it_is_not_done_as_long_as_a_worker_does_not_answer(stage: Stage) -> None:
    stage.crew.silent = {1}
    stage.drains.update(config(a="draining", b="enabled"))
    await stage.look_again()
    assert not stage.drain().done
    stage.crew.silent = set()
    await eventually(lambda: stage.drain().done)


async def test_when_time_is_up_the_rest_is_closed_once(stage: Stage) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="enabled"))
    stage.drains.set_timeout("web", "a", 5.0)
    assert stage.drain().deadline == 1005.0
    stage.now = 1004.9
    await stage.look_again()
    assert stage.crew.closed == []
    stage.now = 1005.0
    await stage.look_again()
    await stage.look_again()
    assert stage.crew.closed == [CloseBackend("web", "a", 5.0)]
    assert len(stage.told()) == 1
    stage.crew.sessions[0] = []
    await eventually(lambda: stage.drain().done)


@pytest.mark.parametrize(("timeout", "window"), [(0.0, 0.0), (3.0, 3.0), (3600.0, WINDOW)])
async def test_the_rest_is_closed_over_a_while(stage: Stage, timeout: float, window: float) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="enabled"))
    stage.drains.set_timeout("web", "a", timeout)
    stage.now += timeout
    await eventually(lambda: bool(stage.crew.closed))
    assert stage.crew.closed[0].window == window


async def test_a_silent_worker_does_not_hold_up_the_closing(stage: Stage) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.crew.silent = {1}
    stage.drains.update(config(a="draining", b="enabled"))
    stage.drains.set_timeout("web", "a", 0.0)
    await eventually(lambda: bool(stage.crew.closed))


async def test_another_time_counts_from_now_and_none_is_for_ever(stage: Stage) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="enabled"))
    stage.drains.set_timeout("web", "a", 5.0)
    stage.now = 1004.0
    stage.drains.set_timeout("web", "a", 5.0)
    stage.now = 1008.0
    await stage.look_again()
    assert stage.crew.closed == []
    stage.drains.set_timeout("web", "a", None)
    stage.now = 1e9
    await stage.look_again()
    assert (stage.crew.closed, stage.drain().deadline) == ([], None)


async def test_another_time_is_kept_to_after_the_first_was_up(stage: Stage) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="enabled"))
    stage.drains.set_timeout("web", "a", 0.0)
    await eventually(lambda: len(stage.crew.closed) == 1)
    stage.drains.set_timeout("web", "a", 5.0)
    stage.now = 1005.0
    await eventually(lambda: len(stage.crew.closed) == 2)


async def test_a_reload_keeps_what_is_still_drained_and_drops_the_rest(stage: Stage) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="draining"))
    stage.drains.set_timeout("web", "a", 50.0)
    kept = stage.drain()
    stage.now = 1010.0
    stage.drains.update(config(a="draining", b="enabled"))
    assert stage.drain() is kept
    assert stage.drains.get("web", "b") is None
    stage.drains.update(config(a="enabled", b="draining"))
    assert stage.drains.get("web", "a") is None
    assert stage.drain("b").since == 1010.0
    stage.now = 2000.0
    await stage.look_again()
    assert stage.crew.closed == []


async def test_one_is_begun_again_after_it_was_done(stage: Stage) -> None:
    stage.drains.update(config(a="draining", b="enabled"))
    await eventually(lambda: stage.drain().done)
    stage.drains.update(config(a="enabled", b="enabled"))
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="enabled"))
    await stage.look_again()
    assert (stage.drain().left, stage.drain().done) == (1, False)


async def test_another_process_goes_on_with_them(stage: Stage) -> None:
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="draining"))
    stage.drains.set_timeout("web", "a", 3.0)
    told: Any = stage.drains.to_json()
    other = Stage()
    other.crew.sessions[0] = [1.0]
    other.now = 1001.0
    other.drains.update(config(a="draining", b="enabled"))
    other.drains.adopt([*told, ["gone", "c", 1.0, 2.0, 3.0]])
    drain = other.drain()
    assert (drain.since, drain.deadline, drain.window) == (1000.0, 1003.0, 3.0)
    assert other.drains.get("web", "b") is None
    other.now = 1003.0
    await eventually(lambda: bool(other.crew.closed))
    await other.drains.close()


async def test_a_bug_in_one_look_does_not_end_the_looking(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.crew.broken = True
    stage.drains.update(config(a="draining", b="enabled"))
    await stage.look_again()
    stage.crew.broken = False
    await eventually(lambda: stage.drain().done)
    assert "internal error in the drain of backend a of pool web" in caplog.text


async def test_nothing_is_left_after_the_end(stage: Stage) -> None:
    before = asyncio.all_tasks()
    stage.crew.sessions[0] = [1.0]
    stage.drains.update(config(a="draining", b="enabled"))
    assert len(asyncio.all_tasks()) == len(before) + 1
    await stage.drains.close()
    assert asyncio.all_tasks() == before
