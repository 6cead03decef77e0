"""Which pool, backend or listener is meant: by name, and by what the shell completes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import click
from click.shell_completion import CompletionItem

from tcplb.cli.ctl.connection import Connection
from tcplb.config.wording import closest, quote
from tcplb.control.admin.client_errors import AdminError, read
from tcplb.control.admin.models import Backends, BackendView, Pools, Status

COMPLETION_TIME = 1.0
"""Seconds that the shell may be kept waiting."""
_MOST_CANDIDATES = 10

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def find_backend(connection: Connection, text: str, pool: str | None) -> BackendView:
    """Return the backend that `text` means: NAME or POOL/NAME.

    Raises AdminError if there is none, click.UsageError if there are several.
    """
    query = {"pool": pool}
    every = read(Backends, connection.ask("GET", "backends", query=query)).backends
    found = [each for each in every if text in (each.name, _full(each))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise AdminError(_no_backend(text, every, pool))
    candidates = ", ".join(map(_full, found[:_MOST_CANDIDATES]))
    raise click.UsageError(f"several pools have a backend called {text}: write {candidates}")


def _full(backend: BackendView) -> str:
    return f"{backend.pool}/{backend.name}"


def _no_backend(text: str, every: list[BackendView], pool: str | None) -> str:
    names = {name: _full(each) for each in every for name in (each.name, _full(each))}
    where = f" of pool {pool}" if pool else ""
    guess = closest(text, names)
    hint = f"; did you mean {names[guess]}?" if guess else _known(every)
    return f"there is no backend {quote(text)}{where}{hint}"


def _known(every: list[BackendView]) -> str:
    shown = ", ".join(map(_full, every[:_MOST_CANDIDATES]))
    return f" (there are {shown}{', …' if len(every) > _MOST_CANDIDATES else ''})"


def split_backend(wanted: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what is wanted with the pool and the name of a backend written as POOL/NAME."""
    first, slash, name = (wanted["backend"] or "").partition("/")
    if not slash or wanted["pool"] not in (None, first):
        return dict(wanted)
    return {**wanted, "pool": first, "backend": name}


def find_pool(connection: Connection, pool: str | None) -> str:
    """Return `pool`, or the only one that there is. Raises click.UsageError if there are more."""
    if pool is not None:
        return pool
    names = [each.name for each in read(Pools, connection.ask("GET", "pools")).pools]
    if len(names) == 1:
        return names[0]
    message = f"is needed, because there are several pools ({', '.join(names)})"
    raise click.BadParameter(message, param_hint="--pool")


# -- what the shell offers ----------------------------------------------------------------------


def _offer(names: Callable[[Connection], Iterable[str]]) -> Complete:
    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            offered = list(dict.fromkeys(names(_connection(ctx))))
        except Exception:  # noqa: BLE001 - whatever it is, the shell's line is no place for it
            return []
        return [CompletionItem(name) for name in offered if name.startswith(incomplete)]

    return complete


def _connection(ctx: click.Context) -> Connection:
    """Return what the words before the completed one say; no command has run."""
    group = ctx.parent
    options = group.params if group is not None else {}
    known = {name: value for name, value in options.items() if name != "timeout"}
    return Connection(**known, timeout=COMPLETION_TIME)


def _backends(connection: Connection) -> list[str]:
    every = read(Backends, connection.ask("GET", "backends")).backends
    return [each.name for each in every] + [_full(each) for each in every]


def _pools(connection: Connection) -> list[str]:
    return [each.name for each in read(Pools, connection.ask("GET", "pools")).pools]


def _listeners(connection: Connection) -> list[str]:
    return [each.name for each in read(Status, connection.ask("GET", "status")).listeners]


complete_pool = _offer(_pools)
complete_backend = _offer(_backends)
complete_listener = _offer(_listeners)

backend_argument = click.argument("backend", shell_complete=complete_backend)
pool_option = click.option(
    "--pool", metavar="NAME", shell_complete=complete_pool, help="The pool that is meant."
)
listener_option = click.option(
    "--listener", metavar="NAME", shell_complete=complete_listener, help="Only of this listener."
)
