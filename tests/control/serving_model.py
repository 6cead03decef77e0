"""A `Serving` whose workers are never started: all that the supervisor does by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tcplb.config.settings import load
from tcplb.control.configuration import Configuration, Source
from tcplb.control.events import Events
from tcplb.control.serving import Serving
from tcplb.control.turns import Turns


def text(*backends: str, bind: str = "127.0.0.1:0", more: str = "", rest: str = "") -> str:
    """Return a settings file with these backends; `more` is of the pool."""
    members = ", ".join(f'{{ name = "{n}", address = "10.0.0.1:{ord(n)}" }}' for n in backends)
    return (
        f'{rest}\n[[listeners]]\nname = "x"\nbind = "{bind}"\npool = "web"\n'
        f"[pools.web]\nbackends = [{members}]\n{more}\n"
    )


@contextmanager
def serving_by(file: Path) -> Iterator[tuple[Serving, Configuration]]:
    """Serve by the file, with nobody who accepts."""
    configuration = Configuration(Source(file, load), load(file))
    level = logging.getLogger().level
    try:
        with (
            closing(Turns.create()) as turns,
            Serving(configuration.config, turns, Events()) as serving,
        ):
            yield serving, configuration
    finally:
        logging.getLogger().setLevel(level)
