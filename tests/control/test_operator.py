from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tcplb.config.changes import SetState, SetWeight
from tcplb.config.settings import Settings, load
from tcplb.control.configuration import Configuration, Source
from tcplb.control.operator import Operator
from tcplb.control.serving import Serving
from tcplb.errors import BindError, ChangeError, ConfigError, StrategyError, TcplbError
from tests.control.serving_model import serving_by, text


class Stage:
    def __init__(self, serving: Serving, configuration: Configuration, file: Path) -> None:
        self.serving = serving
        self.file = file
        self.operator = Operator(configuration, serving, reload_soon=lambda: None)

    def weights(self) -> dict[str, int]:
        return {each.name: each.weight for each in self.serving.plan.pools[0].backends}

    def events(self) -> list[tuple[str, str]]:
        return [(event.kind, event.text) for event in self.serving.events.after(0)]


@pytest.fixture
async def stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stage]:
    file = tmp_path / "tcplb.toml"
    file.write_text(text("a", "b"))
    caplog.set_level("INFO")
    with serving_by(file) as (serving, configuration):
        stage = Stage(serving, configuration, file)
        yield stage
        await stage.operator.close()


async def test_a_reload_is_carried_out_and_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.file.write_text(text("a", "c"))
    proposal = await stage.operator.reload()
    assert stage.weights() == {"a": 1, "c": 1}
    assert stage.operator.configuration.config is proposal.config
    assert caplog.messages == [
        "reloaded: 2 changes",
        "- pools.web.backends.b",
        "+ pools.web.backends.c: 10.0.0.1:99",
    ]
    assert stage.events() == [("reload", "reloaded: 2 changes")]
    reloads = stage.operator.reloads
    assert (reloads.succeeded, reloads.failed, reloads.last_error) == (1, 0, None)
    assert reloads.last_at is not None


async def test_to_stand_still_what_is_under_way_is_done_first(stage: Stage) -> None:
    change = asyncio.create_task(stage.operator.change(SetWeight("web", "a", 7)), name="change")
    await asyncio.sleep(0)  # it has begun
    waiting = asyncio.create_task(stage.operator.change(SetWeight("web", "b", 7)), name="waiting")
    await stage.operator.stand_still("it is closed")
    assert stage.operator.configuration.changes
    await change
    with pytest.raises(ChangeError, match="it is closed"):
        await waiting
    with pytest.raises(ChangeError, match="it is closed"):
        await stage.operator.reload()
    assert stage.weights() == {"a": 7, "b": 1}


@pytest.mark.parametrize(
    ("more", "words"),
    [("", "reloaded: no changes"), ("panic_threshold = 5", "reloaded: 1 change")],
)
async def test_it_says_how_many_changes_there_were(stage: Stage, more: str, words: str) -> None:
    stage.file.write_text(text("a", "b", more=more))
    await stage.operator.reload()
    assert stage.events() == [("reload", words)]


async def test_new_addresses_are_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.file.write_text(text("a", "b", bind="localhost:0"))
    await stage.operator.reload()
    assert any(message.startswith("listening on ") for message in caplog.messages)


async def test_what_is_only_tried_changes_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.file.write_text(text("a", "c"))
    proposal = await stage.operator.reload(dry_run=True)
    assert len(proposal.difference.changes) == 2
    stage.file.write_text("[")
    with pytest.raises(ConfigError):
        await stage.operator.reload(dry_run=True)
    assert stage.weights() == {"a": 1, "b": 1}
    assert (caplog.messages, stage.events()) == ([], [])
    assert stage.operator.reloads.failed == 0


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ("[", ConfigError, "is not valid TOML"),
        (text("a", more="unknown = 1"), ConfigError, "unknown"),
        (text("a", bind="203.0.113.7:1"), BindError, "cannot listen on 203.0.113.7:1"),
        (text("a", more='strategy = "nowhere_at_all:f"'), StrategyError, "nowhere_at_all"),
    ],
)
async def test_what_fails_changes_nothing_and_is_told(
    stage: Stage,
    caplog: pytest.LogCaptureFixture,
    bad: str,
    error: type[TcplbError],
    words: str,
) -> None:
    stage.file.write_text(bad)
    config = stage.operator.configuration.config
    with pytest.raises(error):
        await stage.operator.reload()
    assert stage.weights() == {"a": 1, "b": 1}
    assert stage.operator.configuration.config is config
    assert caplog.messages[0] == "reload failed, nothing has changed:"
    assert words in caplog.messages[1]
    ((kind, event),) = stage.events()
    assert kind == "reload"
    assert event.startswith("reload failed: ")
    assert words in event
    reloads = stage.operator.reloads
    assert (reloads.succeeded, reloads.failed) == (0, 1)
    assert words in (reloads.last_error or "")
    stage.file.write_text(text("a"))
    await stage.operator.reload()
    assert stage.operator.reloads.last_error is None


async def test_a_runtime_change_does_not_mend_a_file(stage: Stage) -> None:
    stage.file.write_text("[")
    with pytest.raises(ConfigError):
        await stage.operator.reload()
    await stage.operator.change(SetWeight("web", "a", 7))
    with pytest.raises(ChangeError):
        await stage.operator.change(SetWeight("web", "nobody", 7))
    assert "is not valid TOML" in (stage.operator.reloads.last_error or "")


async def test_others_have_their_turn_while_a_file_is_loaded(stage: Stage) -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load_slowly(file: Path | None) -> Settings:
        loading.set()
        assert loaded.wait(10)
        return load(file)

    configuration = stage.operator.configuration
    configuration.source = Source(stage.file, load_slowly)
    reload = asyncio.create_task(stage.operator.reload())
    assert await asyncio.to_thread(loading.wait, 10)
    stage.operator.why_not = "another one takes over"  # it has become so meanwhile
    loaded.set()
    with pytest.raises(ChangeError, match="another one takes over"):
        await reload
    assert stage.serving.plan.generation == 0


async def test_saving_waits_for_its_turn(stage: Stage) -> None:
    change = stage.operator.change(SetWeight("web", "a", 7))
    _, saved = await asyncio.gather(change, stage.operator.save())
    assert saved == [str(SetWeight("web", "a", 7))]
    assert load(stage.file).config == stage.operator.configuration.config


async def test_all_that_is_wrong_with_a_file_is_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.file.write_text(text("a", more="one = 1\ntwo = 2"))
    with pytest.raises(ConfigError):
        await stage.operator.reload()
    assert len(caplog.messages) == 3


async def test_a_runtime_change_is_an_event_of_the_operator(stage: Stage) -> None:
    await stage.operator.change(SetWeight("web", "a", 7))
    assert stage.weights() == {"a": 7, "b": 1}
    event = stage.serving.events.after(0)[-1]
    assert (event.kind, event.pool, event.backend) == ("operator", "web", "a")
    await stage.operator.reload()
    assert stage.weights() == {"a": 7, "b": 1}
    await stage.operator.reload(discard_changes=True)
    assert stage.weights() == {"a": 1, "b": 1}


async def test_a_change_of_nobody_changes_nothing(stage: Stage) -> None:
    with pytest.raises(ChangeError):
        await stage.operator.change(SetState("web", "nobody", "draining"))
    assert stage.events() == []


async def test_one_after_the_other(stage: Stage) -> None:
    stage.file.write_text(text("a", "b", "c"))
    changes = [SetWeight("web", "a", weight) for weight in range(1, 20)]
    await asyncio.gather(
        stage.operator.reload(), *(stage.operator.change(change) for change in changes)
    )
    assert stage.weights() == {"a": 19, "b": 1, "c": 1}
    assert stage.serving.plan.generation == 20
    assert stage.operator.reloads.succeeded == 20


async def test_nothing_is_changed_while_that_is_forbidden(stage: Stage) -> None:
    stage.operator.why_not = "another one takes over"
    with pytest.raises(ChangeError, match="another one takes over"):
        await stage.operator.reload()
    with pytest.raises(ChangeError, match="another one takes over"):
        await stage.operator.change(SetWeight("web", "a", 7))
    assert stage.serving.plan.generation == 0
