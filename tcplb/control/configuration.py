"""The settings in force: those of the last load, and the operator's changes on top of them.

A change is first proposed and then taken over, once it has been carried out: what could not be
carried out has never been in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tcplb.config.changes import RuntimeChange, RuntimeChanges
from tcplb.config.difference import Difference, difference
from tcplb.config.keypath import format_key
from tcplb.config.models import Config, PoolConfig
from tcplb.config.reading import may_never_end
from tcplb.config.saving import save
from tcplb.config.settings import Settings
from tcplb.config.wording import printable
from tcplb.control.watch import Look, look
from tcplb.errors import ChangeError, ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings come from, and can come from again."""

    file: Path | None
    load: Callable[[Path | None], Settings]
    """Loads a file, with the flags and variables of this run over it. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings that may come into force."""

    settings: Settings
    changes: RuntimeChanges
    config: Config
    """Both together, as far as that can come into force without a restart."""
    difference: Difference
    """What they change of what is in force, what takes a restart included."""
    notes: tuple[str, ...] = ()
    """What the user should know besides, in words: of changes that do not fit any more, say."""


class Configuration:
    """What is in force, and what was loaded."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        changes: RuntimeChanges | None = None,
        seen: Look = None,
    ) -> None:
        """Begin with `settings`, and perhaps with changes that somebody else has made.

        Of these, the ones that do not fit the settings are dropped. `seen` is how the file looked
        before it was loaded.
        """
        self.source = source
        self.seen = seen
        self.settings = settings
        self.changes, self.dropped = (changes or RuntimeChanges()).rebased(settings.config)
        self.config = self.changes.apply_to(settings.config)
        self.loaded_at = time.time()

    @property
    def file_name(self) -> str | None:
        """The file that the settings come from, if there is one."""
        return None if self.source.file is None else str(self.source.file)

    def propose_reload(self, *, discard_changes: bool = False) -> Proposal:
        """Load again. Raises ConfigError, and ChangeError if there is no file to load.

        Nothing comes into force by it, so another thread may do it: a large file takes its time.
        """
        settings = self._load_again(self.source.file)
        before = RuntimeChanges() if discard_changes else self.changes
        changes, dropped = before.rebased(settings.config)
        wanted = changes.apply_to(settings.config)
        # What waits for a restart is named each time.
        changed = difference(self.config, wanted)
        notes = (*dropped, *_newly_closed(self.config, wanted))
        return Proposal(settings, changes, self._as_far_as_possible(wanted), changed, notes)

    def _load_again(self, file: Path | None) -> Settings:
        if file is None:
            raise ChangeError("there is no file to reload: tcplb was started without one")
        if may_never_end(file):
            raise ChangeError(f"{printable(str(file))} is not a regular file: it was read once")
        self.seen = look(file)
        settings = self.source.load(file)
        if settings.empty_file and not self.settings.empty_file:
            # Somebody has truncated it and not written it yet, or the disk is full. Defaults for
            # everything is the last thing that was meant.
            raise ConfigError([Problem(printable(str(file)), "", "is empty")])
        return settings

    def propose_change(self, change: RuntimeChange) -> Proposal:
        """Add a runtime change. Raises ChangeError if it makes no sense."""
        changes = self.changes.with_change(change, self.settings.config)
        config = self._as_far_as_possible(changes.apply_to(self.settings.config))
        changed, notes = difference(self.config, config), _newly_closed(self.config, config)
        return Proposal(self.settings, changes, config, changed, tuple(notes))

    def _as_far_as_possible(self, wanted: Config) -> Config:
        """Return `wanted`, but for what takes a restart to come into force."""
        fixed = {"access": self.config.log.access, "format": self.config.log.format}
        log = wanted.log.model_copy(update=fixed)
        return wanted.model_copy(update={"log": log, "admin": self.config.admin})

    def take_over(self, proposal: Proposal) -> None:
        """Let it be in force."""
        if proposal.settings is not self.settings:
            self.loaded_at = time.time()
        self.settings = proposal.settings
        self.changes = proposal.changes
        self.config = proposal.config

    def runtime_difference(self) -> Difference:
        """Return what the runtime changes make of the settings that were loaded."""
        loaded = self.settings.config
        return difference(loaded, self.changes.apply_to(loaded))

    def save(self) -> list[str]:
        """Write the runtime changes into the file; return them in words.

        They are settings from then on. What else somebody has changed in the file stays for the
        next reload. Raises ChangeError and ConfigError; nothing is changed then.
        """
        saved = [str(change) for change in self.changes]
        save(self.source.file, self.changes, lambda path: self.source.load(path).config)
        config = self.changes.apply_to(self.settings.config)
        self.settings = replace(self.settings, config=config)
        self.changes = RuntimeChanges()
        return saved


def _newly_closed(before: Config, after: Config) -> Iterator[str]:
    """Say which pools take connections no more, because nobody there is to have any."""
    for name, pool in after.pools.items():
        if not _takes_connections(pool):
            old = before.pools.get(name)
            if old is None or _takes_connections(old):
                yield (
                    f"pool {format_key(name)} takes no new connections: no backend of it is "
                    "enabled and has a weight"
                )


def _takes_connections(pool: PoolConfig) -> bool:
    return any(each.state == "enabled" and each.weight > 0 for each in pool.backends)
