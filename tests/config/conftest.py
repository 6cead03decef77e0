from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tcplb.config.overrides import Override
from tcplb.config.settings import Settings, load
from tcplb.errors import ConfigError

LoadText = Callable[..., Settings]
ProblemsOf = Callable[..., list[str]]


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadText:
    """Load a text from a file that messages call tcplb.toml."""
    monkeypatch.chdir(tmp_path)

    def load_it(text: str, overrides: Sequence[Override] = ()) -> Settings:
        Path("tcplb.toml").write_text(text, encoding="utf-8")
        return load(Path("tcplb.toml"), overrides)

    return load_it


@pytest.fixture
def problems_of(load_text: LoadText) -> ProblemsOf:
    """What is wrong with a text, as the user reads it."""

    def find(text: str, overrides: Sequence[Override] = ()) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, overrides)
        return [str(problem) for problem in caught.value.problems]

    return find
