from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcplb.cli.exits import Exit, exit_for
from tcplb.errors import (
    BindError,
    ChangeError,
    ConfigError,
    LogFileError,
    Problem,
    StrategyError,
    TcplbError,
    WorkerError,
)


def errors(*wheres: str) -> ConfigError:
    return ConfigError([Problem(where, "log.level", "is wrong") for where in wheres])


CODES: list[tuple[TcplbError, int]] = [
    (TcplbError("anything"), 1),
    (LogFileError("a file"), 1),
    (ChangeError("a change"), 1),
    (WorkerError("a reason"), 1),
    (errors("--log-level"), 2),
    (errors("TCPLB_LOG_LEVEL"), 2),
    (errors("--log-level", "TCPLB_BACKEND"), 2),
    (errors("tcplb.toml"), 3),
    (errors("tcplb.toml:1"), 3),
    (errors("tcplb.toml:1", "--log-level"), 3),
    (errors("TCPLB_prod.toml:1"), 3),
    (errors("--strange-name.toml:1"), 3),
    (StrategyError("a function"), 3),
    (BindError("a port"), 4),
]


@pytest.mark.parametrize(("error", "code"), CODES)
def test_the_code_for_an_error(error: TcplbError, code: int) -> None:
    assert exit_for(error) == code


def every_kind(kind: type[TcplbError] = TcplbError) -> Iterator[type[TcplbError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from every_kind(narrower)


def test_every_error_there_is_has_its_code_here() -> None:
    # Those of the admin port are no others than failures, and are where they are raised.
    kinds = {kind for kind in every_kind() if kind.__module__ == TcplbError.__module__}
    assert kinds == {type(error) for error, _ in CODES}


def test_what_the_codes_mean() -> None:
    assert {code.name: code.value for code in Exit} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "BAD_CONFIG": 3,
        "CANNOT_BIND": 4,
        "DRAIN_TIMED_OUT": 5,
        "GATE_MISSED": 99,
    }
