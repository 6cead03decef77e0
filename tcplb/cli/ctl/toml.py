"""The configuration in force as TOML, with where each setting came from."""

from __future__ import annotations

from collections.abc import Iterator

from tcplb.cli.ctl.words import clock
from tcplb.config.keypath import KeyPath, format_path
from tcplb.config.toml_text import TomlText
from tcplb.control.admin.models import ConfigView
from tcplb.loadgen.reports.figures import printable


def config_lines(view: ConfigView) -> Iterator[str]:
    """Yield the lines of a TOML document; what is a default has no origin behind it."""
    yield f"# {printable(view.file or 'no file')}, in force since {clock(view.loaded_at)}"
    text = TomlText(lambda path: _origin(view, path), lambda _: "")
    yield from text.lines(view.config)


def _origin(view: ConfigView, path: KeyPath) -> str:
    return printable(view.origins.get(format_path(path), ""))
