"""`tcplb config`: what can be set, and what is set."""

from __future__ import annotations

import json

import click

from tcplb.cli.settings import SettingsCommand, load_settings, settings_options
from tcplb.config.describe import json_schema, to_toml


@click.group()
def config() -> None:
    """Show the settings and their schema."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the settings file, for editors and other tools."""
    click.echo(json.dumps(json_schema(), indent=2))


@config.command(cls=SettingsCommand)
@settings_options
@click.pass_context
def show(ctx: click.Context, /, **_: object) -> None:
    """Print the effective settings as TOML, and where each came from.

    Takes the flags and variables of `tcplb serve`, and shows what `serve` would use with them.
    """
    click.echo(to_toml(load_settings(ctx)), nl=False)
