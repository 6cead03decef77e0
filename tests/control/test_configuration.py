from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tcplb.config.changes import RuntimeChange, RuntimeChanges, SetState, SetWeight
from tcplb.config.settings import load
from tcplb.control.configuration import Configuration, Source
from tcplb.errors import ChangeError, ConfigError

Write = Callable[..., None]
Make = Callable[[], Configuration]

GOOD = """
[[listeners]]
bind = "127.0.0.1:9090"
pool = "web"
{more}
[pools.web]
backends = [{backends}]
"""


def members(*names: str) -> str:
    return ", ".join(f'{{ name = "{name}", address = "10.0.0.1:{ord(name)}" }}' for name in names)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tcplb.toml"


@pytest.fixture
def write(file: Path) -> Write:
    def write_it(*names: str, more: str = "") -> None:
        file.write_text(GOOD.format(backends=members(*names), more=more))

    write_it("a", "b")
    return write_it


@pytest.fixture
def make(file: Path, write: Write) -> Make:
    return lambda: Configuration(Source(file, load), load(file))


def words(changes: RuntimeChanges) -> list[str]:
    return [str(change) for change in changes]


def weights(configuration: Configuration) -> dict[str, int]:
    backends = configuration.config.pools["web"].backends
    return {backend.name: backend.weight for backend in backends}


def test_it_begins_with_what_was_loaded(make: Make) -> None:
    configuration = make()
    assert configuration.config == configuration.settings.config
    assert not configuration.changes
    assert not configuration.runtime_difference()


def test_what_is_proposed_is_in_force_when_it_is_taken_over(make: Make, write: Write) -> None:
    configuration = make()
    write("a", "b", "c")
    proposal = configuration.propose_reload()
    assert weights(configuration) == {"a": 1, "b": 1}
    assert [str(change) for change in proposal.difference] == [
        "+ pools.web.backends.c: 10.0.0.1:99"
    ]
    configuration.take_over(proposal)
    assert weights(configuration) == {"a": 1, "b": 1, "c": 1}
    assert not configuration.propose_reload().difference


def test_runtime_changes_stay_over_a_reload(make: Make, write: Write) -> None:
    configuration = make()
    configuration.take_over(configuration.propose_change(SetWeight("web", "a", 7)))
    write("a", "c")
    proposal = configuration.propose_reload()
    configuration.take_over(proposal)
    assert weights(configuration) == {"a": 7, "c": 1}
    assert words(configuration.changes) == [str(SetWeight("web", "a", 7))]
    assert proposal.notes == ()


def test_changes_that_do_not_fit_any_more_are_told(make: Make, write: Write) -> None:
    configuration = make()
    for name in "ab":
        configuration.take_over(configuration.propose_change(SetState("web", name, "draining")))
    write("a")
    proposal = configuration.propose_reload()
    assert len(proposal.notes) == 1
    assert "b" in proposal.notes[0]
    configuration.take_over(proposal)
    assert words(configuration.changes) == [str(SetState("web", "a", "draining"))]


def test_a_pool_that_takes_no_connections_any_more_is_told_of(make: Make, write: Write) -> None:
    configuration = make()
    closing: list[RuntimeChange] = [SetState("web", "a", "draining"), SetWeight("web", "b", 0)]
    told = []
    for change in (*closing, SetState("web", "b", "disabled"), SetState("web", "a", "enabled")):
        proposal = configuration.propose_change(change)
        told.append(len(proposal.notes))
        configuration.take_over(proposal)
    assert told == [0, 1, 0, 0]
    write("a", more='[pools.api]\nbackends = [{ address = "h:1", state = "draining" }]')
    assert configuration.propose_reload().notes[-1] == (
        "pool api takes no new connections: no backend of it is enabled and has a weight"
    )


def test_changes_can_be_discarded(make: Make) -> None:
    configuration = make()
    configuration.take_over(configuration.propose_change(SetWeight("web", "a", 7)))
    assert len(configuration.runtime_difference().changes) == 1
    configuration.take_over(configuration.propose_reload(discard_changes=True))
    assert weights(configuration) == {"a": 1, "b": 1}
    assert not configuration.changes


def test_a_change_that_makes_no_sense_changes_nothing(make: Make) -> None:
    configuration = make()
    with pytest.raises(ChangeError):
        configuration.propose_change(SetWeight("web", "nobody", 7))
    assert not configuration.changes


def test_a_bad_file_changes_nothing(make: Make, write: Write, file: Path) -> None:
    configuration = make()
    write("a", more="unknown = 1")
    with pytest.raises(ConfigError, match="unknown"):
        configuration.propose_reload()
    file.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        configuration.propose_reload()
    assert weights(configuration) == {"a": 1, "b": 1}


@pytest.mark.parametrize("text", ["", "# all of it is still to be written\n\n"])
def test_a_file_that_was_emptied_changes_nothing(make: Make, file: Path, text: str) -> None:
    configuration = make()
    file.write_text(text)
    with pytest.raises(ConfigError, match="is empty"):
        configuration.propose_reload()


def test_a_file_that_was_empty_from_the_start_may_be_so(make: Make, file: Path) -> None:
    file.write_text("")
    settings = load(file)
    configuration = Configuration(Source(file, load), settings)
    assert not configuration.propose_reload().difference


def test_a_pipe_is_not_read_again(make: Make, file: Path) -> None:
    configuration = make()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ChangeError, match="is not a regular file"):
        configuration.propose_reload()


def test_without_a_file_there_is_nothing_to_reload(file: Path, write: Write) -> None:
    configuration = Configuration(Source(None, load), load(file))
    with pytest.raises(ChangeError, match="there is no file to reload: tcplb was started without"):
        configuration.propose_reload()
    configuration.take_over(configuration.propose_change(SetWeight("web", "a", 7)))
    assert weights(configuration)["a"] == 7


def test_what_takes_a_restart_is_named_each_time_and_not_in_force(make: Make, file: Path) -> None:
    configuration = make()
    file.write_text('[log]\nformat = "json"\nlevel = "debug"\n' + file.read_text())
    for expected in (["log.format", "log.level"], ["log.format"]):
        proposal = configuration.propose_reload()
        assert [change.path for change in proposal.difference] == expected
        assert [change.path for change in proposal.difference.needs_restart] == ["log.format"]
        configuration.take_over(proposal)
        assert (configuration.config.log.format, configuration.config.log.level) == (
            "text",
            "debug",
        )
    change = configuration.propose_change(SetWeight("web", "a", 7))
    assert [each.path for each in change.difference] == ["pools.web.backends.a.weight"]
    assert change.config.log.format == "text"


def test_changes_of_somebody_before_are_taken_on_as_far_as_they_fit(
    file: Path, write: Write
) -> None:
    settings = load(file)
    changes = RuntimeChanges()
    for change in (SetWeight("web", "a", 7), SetWeight("web", "b", 5)):
        changes = changes.with_change(change, settings.config)
    write("a")
    configuration = Configuration(Source(file, load), load(file), changes)
    assert weights(configuration) == {"a": 7}
    assert len(configuration.dropped) == 1


def test_it_says_when_it_was_loaded(make: Make) -> None:
    configuration = make()
    loaded = configuration.loaded_at
    configuration.take_over(configuration.propose_change(SetWeight("web", "a", 7)))
    assert configuration.loaded_at == loaded
    configuration.take_over(configuration.propose_reload())
    assert configuration.loaded_at >= loaded


def test_saving_takes_over_nothing_else_from_the_file(make: Make, file: Path) -> None:
    configuration = make()
    configuration.take_over(configuration.propose_change(SetWeight("web", "a", 7)))
    file.write_text("watch = true\n" + file.read_text())
    configuration.save()
    assert not configuration.config.watch
    assert not configuration.settings.config.watch
    assert [str(change) for change in configuration.propose_reload().difference] == [
        "~ watch: false → true"
    ]


def test_what_is_saved_is_no_runtime_change_any_more(make: Make, file: Path) -> None:
    configuration = make()
    configuration.take_over(configuration.propose_change(SetWeight("web", "a", 7)))
    assert configuration.save() == [str(SetWeight("web", "a", 7))]
    assert not configuration.changes
    assert not configuration.runtime_difference()
    assert weights(configuration)["a"] == 7
    assert load(file).config == configuration.config
    assert not configuration.propose_reload().difference
