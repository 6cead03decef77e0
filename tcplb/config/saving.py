"""Writing runtime changes into the file that the settings came from."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tcplb.config.address_fields import to_backend_address
from tcplb.config.backend_edits import add_behind, remove, set_keys
from tcplb.config.changes import RuntimeChanges
from tcplb.config.keypath import KeyPath, format_key
from tcplb.config.models import BackendConfig, Config, PoolConfig
from tcplb.config.reading import may_never_end
from tcplb.config.runtime_change import to_table
from tcplb.config.wording import printable
from tcplb.errors import ChangeError, ConfigError

_BYTE_ORDER_MARK = "\ufeff"


def save(path: Path | None, changes: RuntimeChanges, load: Callable[[Path], Config]) -> None:
    """Write the changes into the file at `path`, in one step: the old file or the new one is there.

    `load` gives the settings as they are loaded from a file, flags and variables included. The new
    file keeps the mode and the owner of the old one. Where `path` is a link, what it leads to is
    replaced.

    Raises ConfigError if the file as it is cannot be loaded, and ChangeError, with a text for the
    user, if the changes cannot be written; then it is as it was.
    """
    if path is None:
        raise ChangeError("there is no file to save to: tcplb was started without one")
    if not changes:
        return
    name = printable(str(path))
    if may_never_end(path):
        raise ChangeError(f"{name} is not a regular file, so nothing can be saved there")
    config = load(path)
    wanted = _wanted(changes, config, name)
    try:
        target = path.resolve(strict=True)
        old = _read(target, name)
        new = edited(old.decode(), changes, config).encode()
        if new == old:
            return
        with _file_beside(target, new) as written:
            _check(written, wanted, load, name)
            if target.read_bytes() != old:
                raise ChangeError(f"{name} has just been changed by somebody else: try again")
            written.replace(target)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise ChangeError(f"{name} cannot be written: {reason}") from None
    _sync_directory(target.parent)


def edited(text: str, changes: RuntimeChanges, file_config: Config) -> str:
    """The TOML text with the changes written in, and every other character as it was.

    `text` is what `file_config` was loaded from. A key that is there is set, also to its default.
    What goes with a backend that is removed, `backend_edits.remove` says. Raises ChangeError, with
    a text for the user, if the changes do not fit or the backends do not come from the text.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        return _BYTE_ORDER_MARK + edited(text[1:], changes, file_config)
    wanted = changes.apply_to(file_config)
    for name, pool in file_config.pools.items():
        if wanted.pools[name] != pool:
            text = _edited_pool(text, name, pool, wanted.pools[name])
    return text


def _edited_pool(text: str, name: str, before: PoolConfig, after: PoolConfig) -> str:
    array: KeyPath = ("pools", name, "backends")
    tables = _tables_of(text, name, before)
    wanted = {backend.name: backend for backend in after.backends}
    kept = [(index, old) for index, old in enumerate(before.backends) if old.name in wanted]
    text = set_keys(
        text,
        {(*array, n): _keys_to_set(old, wanted[old.name], tables[n]) for n, old in kept},
    )
    if new := after.backends[len(kept) :]:
        last = len(tables) - 1
        text = add_behind(text, (*array, last), [to_table(backend) for backend in new])
    # The last ones first, so that the others stay where they are; and after those that come, so
    # that the array is never empty.
    gone = [index for index, old in enumerate(before.backends) if old.name not in wanted]
    for index in reversed(gone):
        text = remove(text, (*array, index))
    return text


def _tables_of(text: str, pool: str, config: PoolConfig) -> list[dict[str, Any]]:
    """The backends of the pool as they are in the text."""
    tables = tomllib.loads(text).get("pools", {}).get(pool, {}).get("backends", [])
    names = [table.get("name") or to_backend_address(table["address"]) for table in tables]
    if names != [backend.name for backend in config.backends]:
        raise ChangeError(
            f"the backends of pool {format_key(pool)} do not come from the file, so they cannot be "
            "saved there: they are from flags, variables or defaults"
        )
    return list(tables)


def _keys_to_set(
    old: BackendConfig, new: BackendConfig, table: dict[str, Any]
) -> dict[str, object]:
    written = new.model_dump(mode="json")
    keys = {key: value for key, value in written.items() if getattr(old, key) != getattr(new, key)}
    # It was called by its address, and that is another one now.
    unnamed = "name" not in table and new.name != new.address
    return {**keys, "name": new.name} if unnamed else keys


def _wanted(changes: RuntimeChanges, config: Config, name: str) -> Config:
    try:
        return changes.apply_to(config)
    except ChangeError as error:
        raise ChangeError(f"{name} has changed since it was loaded, and now {error}") from None


def _read(target: Path, name: str) -> bytes:
    # It could be replaced all the same, but who made it read-only does not want that.
    if not os.access(target, os.W_OK):
        raise ChangeError(f"{name} cannot be written: permission denied")
    return target.read_bytes()


def _check(written: Path, wanted: Config, load: Callable[[Path], Config], name: str) -> None:
    """Refuse a new file that does not say what is wanted."""
    try:
        if load(written) == wanted:
            return
    except ConfigError as error:
        problem = error.problems[0]
        raise ChangeError(f"{name} would not be valid: {problem.path}: {problem.message}") from None
    raise ChangeError(
        f"{name} cannot be made to say what is in force: a flag or a variable sets the backends"
    )


@contextlib.contextmanager
def _file_beside(target: Path, content: bytes) -> Iterator[Path]:
    """A new file in the same directory, with the mode and owner of `target`; gone at the end."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _copy_owner_and_mode(target.stat(), descriptor)
            os.fsync(descriptor)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _copy_owner_and_mode(status: os.stat_result, descriptor: int) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _sync_directory(directory: Path) -> None:
    # Without it, a crash of the machine may bring the old file back. Some file systems cannot.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
