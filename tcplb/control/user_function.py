"""Loads a strategy of the user's own by its name, ``module:function``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import cast

from tcplb.control.plan import working_directory
from tcplb.errors import StrategyError
from tcplb.policy.custom import PickFunction
from tcplb.policy.names import names_function


def load_function(name: str, search_path: str) -> PickFunction:
    """Import the module of `name` and return its function.

    The module is looked for where Python looks, and then in the folder `search_path`: last, so
    that no file there can take the place of a module that we need. Raises StrategyError.
    """
    module_name, _, attributes = name.partition(":")
    if search_path and search_path not in sys.path:
        sys.path.append(search_path)
    try:
        found: object = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise StrategyError(f"cannot load the strategy {name}: {reason}") from error
    if not callable(found):
        raise StrategyError(f"cannot load the strategy {name}: it is not a function")
    return cast(PickFunction, found)


def load_functions(strategies: Iterable[str]) -> None:
    """Load those of `strategies` that are functions, to see that it works. Raises StrategyError."""
    for name in strategies:
        if names_function(name):
            load_function(name, working_directory())
