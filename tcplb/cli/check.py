"""`tcplb check`: is this file a good config?"""

from __future__ import annotations

from pathlib import Path

import click

from tcplb.config.settings import load
from tcplb.control.user_function import load_functions


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Validate the settings in FILE, without opening anything.

    Prints every problem with its line and exits with 3 if there is one.
    """
    config = load(file).config
    load_functions(pool.strategy for pool in config.pools.values())
    backends = sum(len(pool.backends) for pool in config.pools.values())
    click.echo(
        f"{click.format_filename(file)}: fine: {_count(len(config.listeners), 'listener')}, "
        f"{_count(len(config.pools), 'pool')}, {_count(backends, 'backend')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
