"""Every error that tcplb raises on purpose, in one tree.

::

    TcplbError
    ├── ConfigError        the settings are wrong; carries every Problem found, not just the first
    ├── BindError          a listening socket could not be opened
    ├── LogFileError       a log file could not be opened
    ├── StrategyError      a strategy of the user's own could not be loaded
    ├── ChangeError        a change at run time does not fit, or cannot be saved
    └── WorkerError        no worker process could be started

The admin port, its client and the upgrade add their own, where they raise them:
`control.admin.control`, `control.admin.token`, `control.admin.client_errors` and `control.upgrade`.

What a peer or a backend does is not an error of ours: the data plane returns those as values
(`policy.outcome.Outcome`, `dataplane.termination.Termination`). Exit codes are chosen in
`tcplb.cli.exits` and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass


class TcplbError(Exception):
    """Base of all errors whose message is meant for the user, without a traceback."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings.

    `where` says where it was written: ``tcplb.toml:11``, ``--backend`` or ``TCPLB_BACKEND``.
    `path` is the dotted path of the setting (``pools.web.backends[0].weight``) and may be empty.
    `message` says what was expected and what was given.
    """

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class ConfigError(TcplbError):
    """The settings cannot be used. `problems` holds all of them, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class BindError(TcplbError):
    """A listening socket could not be opened (address in use, no permission, no such address)."""


class LogFileError(TcplbError):
    """A log file could not be opened for appending."""


class StrategyError(TcplbError):
    """A strategy of the user's own could not be loaded (no such module, an error in it)."""


class ChangeError(TcplbError):
    """A change at run time does not fit the settings, or cannot be written into their file."""


class WorkerError(TcplbError):
    """No worker process could be started."""
