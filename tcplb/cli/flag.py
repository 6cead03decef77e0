"""What a settings flag is: an option with a heading, a variable of its own, and its default.

The default is that of the settings' models, so no flag has it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from tcplb.config.models import CheckConfig, Config

ENVIRONMENT_PREFIX = "TCPLB_"


class SettingsOption(click.Option):
    """An option that has a heading in the help.

    Its error names the variable, if that is where the value is from.
    """

    def __init__(self, *arguments: Any, heading: str = "Options", **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.heading = heading

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT:
            return str(self.envvar)
        return super().get_error_hint(ctx)


class RuleType(click.types.StringParamType):
    """An access rule. It has a space in it, so in a variable a comma is between two of them."""

    name = "rule"
    envvar_list_splitter = ","


def read_by(parse: Callable[[str], object]) -> Callable[[str], object]:
    """What converts a flag's text by `parse`, whose errors have words for the user."""

    def convert(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def right_by(parse: Callable[[str], object]) -> Callable[[str], object]:
    """What takes a flag's text as it is, if `parse` can read it.

    For flags whose value may have nowhere to go: there the settings' own check would not see it.
    """

    def check(text: str) -> str:
        parse(text)
        return text

    return read_by(check)


def _number_or_text(text: str) -> int | str:
    # Whatever is no number stays text: the settings' own check has the words for it.
    return int(text) if text.isdecimal() else text


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag and the setting that it overrides; see `Override` for the path and `needs_table`."""

    name: str
    setting: str
    help: str
    type: Any = str
    metavar: str | None = None
    multiple: bool = False
    needs_table: bool = False
    words: Iterable[str] = ()
    """What the shell offers for its value."""
    default_in_words: str | None = None
    """Where the models have none that tells a reader anything."""

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.setting.split("."))

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.parameter.upper()

    @property
    def parameter(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")

    def option(self, heading: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return click.option(
            self.name,
            self.parameter,
            cls=SettingsOption,
            heading=heading,
            type=_number_or_text if self.metavar in _NUMBERS else self.type,
            metavar=self.metavar,
            multiple=self.multiple,
            envvar=self.variable,
            shell_complete=self.offer if self.words else None,
            help=f"{self.help} [default: {self.default}]",
        )

    def offer(self, _ctx: click.Context, _option: click.Parameter, begun: str) -> list[str]:
        return [word for word in self.words if word.startswith(begun)]

    @property
    def default(self) -> str:
        """The default in words, from the models: the one place that has it."""
        if self.default_in_words is not None:
            return self.default_in_words
        value: Any = _DEFAULTS
        for key in self.path:
            value = value[0] if key == "*" and isinstance(value, list) else _only(value, key)
        return str(value)


_POOL = Config().pools["default"].model_copy(update={"check": CheckConfig()})
_DEFAULTS = Config(pools={"default": _POOL}).model_dump(mode="json")
_NUMBERS = ("N", "N|auto", "PERCENT")


def _only(table: dict[str, Any], key: str) -> Any:
    return next(iter(table.values())) if key == "*" else table[key]
