"""What pydantic found wrong, in our words."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tcplb.config.document import Finding
from tcplb.config.keypath import KeyPath, format_path
from tcplb.config.models import Config
from tcplb.config.wording import closest, one_of, show


def explain(error: ValidationError) -> list[Finding]:
    """All that is wrong with the data that `Config` refused."""
    return [_finding(details) for details in error.errors() if not _is_consequence(details)]


def _is_consequence(details: ErrorDetails) -> bool:
    """Whether the user has been told already, by the error that led to this one."""
    if details["type"] == "default_factory_not_called":
        return True
    # pydantic counts only the valid entries.
    return details["type"] == "too_short" and bool(details["input"])


def _finding(details: ErrorDetails) -> Finding:
    path: KeyPath = details["loc"]
    if path[-1] == "[key]":
        path = path[:-1]
    message = _MESSAGES.get(details["type"], _other)
    return Finding(path, message(details))


def _wrong_type(expected: str) -> Callable[[ErrorDetails], str]:
    return lambda details: f"must be {expected} (got {show(details['input'])})"


def _wrong_array(details: ErrorDetails) -> str:
    path = details["loc"]
    if not _is_model(_model_at((*path, 0))):
        return f"must be an array of strings (got {show(details['input'])})"
    header = f"[[{format_path(path)}]]"
    return f"must be an array of tables ({header}) (got {show(details['input'])})"


def _out_of_range(words: str, limit: str) -> Callable[[ErrorDetails], str]:
    return lambda details: (
        f"must be {words} {_plain(details['ctx'][limit])} (got {show(details['input'])})"
    )


def _plain(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _wrong_choice(details: ErrorDetails) -> str:
    choices = re.findall(r"'([^']*)'", details["ctx"]["expected"])
    return one_of(choices, details["input"])


def _unknown_key(details: ErrorDetails) -> str:
    *table, key = details["loc"]
    known = list(_model_at(tuple(table)).model_fields)
    guess = closest(str(key), known)
    if guess:
        return f'unknown key (did you mean "{guess}"?)'
    return f"unknown key (known here: {', '.join(known)})"


def _model_at(path: KeyPath) -> Any:
    """The model of the table at `path`, which has to be one that `Config` knows."""
    model: Any = Config
    for step in path:
        if _is_model(model):
            model = _without_none(model.model_fields[str(step)].annotation)
        else:
            # tuple[Entry, ...] or dict[Name, Entry]
            entry = 0 if isinstance(step, int) else 1
            model = get_args(model)[entry]
    return model


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _without_none(annotation: Any) -> Any:
    """What a table is that need not be there: the `Table` of `Table | None`."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if isinstance(annotation, UnionType) and len(kinds) == 1 else annotation


def _own_words(details: ErrorDetails) -> str:
    return str(details["ctx"]["error"])


def _other(details: ErrorDetails) -> str:
    message = details["msg"]
    return f"{message[:1].lower()}{message[1:]} (got {show(details['input'])})"


_MESSAGES: dict[str, Callable[[ErrorDetails], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": _unknown_key,
    "enum": _wrong_choice,
    "literal_error": _wrong_choice,
    "int_type": _wrong_type("a whole number"),
    "float_type": _wrong_type("a number"),
    "bool_type": _wrong_type("true or false"),
    "string_type": _wrong_type("a string in quotes"),
    "model_type": _wrong_type("a table"),
    "dict_type": _wrong_type("a table"),
    "tuple_type": _wrong_array,
    "too_short": lambda _: "must not be empty",
    "greater_than_equal": _out_of_range("at least", "ge"),
    "less_than_equal": _out_of_range("at most", "le"),
    "value_error": _own_words,
}
