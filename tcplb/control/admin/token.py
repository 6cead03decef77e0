"""The token that a client must know to change anything: where it is, and how it is made.

The file is kept from one start to the next, and so over an upgrade. Nobody but its owner may read
it, it is made complete or not at all, and no symbolic link is followed to it.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from tcplb.config.admin import AUTO, LONGEST_TOKEN, SHORTEST_TOKEN, UNIX, AdminConfig
from tcplb.config.units import parse_address
from tcplb.config.wording import quote
from tcplb.errors import TcplbError

VARIABLE = "TCPLB_ADMIN_TOKEN"
_FOR_ROOT = Path("/run/tcplb")
_OTHERS_MAY = 0o077
_OTHERS_MAY_WRITE = 0o022


class TokenError(TcplbError):
    """The token cannot be read or made, or others could read it."""


def is_same(given: str, token: str) -> bool:
    """Whether a client has given the token; how long that takes does not tell how much is right."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode())


def find_or_make_token(config: AdminConfig, bind: str, environ: Mapping[str, str]) -> str:
    """The token of the server that is bound to `bind`: that of `config`, or that in its file.

    The file is made if it is not there. Raises TokenError.
    """
    if config.token is not None:
        return config.token.get_secret_value()
    path = token_path(config, bind, environ)
    try:
        if config.token_file == AUTO:
            _make_directory(path.parent)
        return _read_or_make(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TokenError(f"cannot use the token file {quote(str(path))}: {reason}") from error


def token_path(config: AdminConfig, bind: str, environ: Mapping[str, str]) -> Path:
    """Where the token is of the server that is bound to `bind`.

    With "auto" that is in systemd's $RUNTIME_DIRECTORY, else in $XDG_RUNTIME_DIR/tcplb, else in
    /run/tcplb for root, else in ~/.local/state/tcplb.
    """
    if config.token_file != AUTO:
        return Path(config.token_file)
    return next(_directories(environ)) / token_file_name(bind)


def find_token(bind: str, environ: Mapping[str, str]) -> str | None:
    """The token for a server of this machine, as a client finds it; None if it does not.

    It is in TCPLB_ADMIN_TOKEN, or else in the file of a server that chose the place by itself,
    which may run with another environment than the client: so all places are tried.
    """
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    for directory in [*_directories(environ), _FOR_ROOT]:
        with contextlib.suppress(OSError, TokenError):
            return _read(directory / token_file_name(bind), of_others=True)
    return None


def token_file_name(bind: str) -> str:
    """``admin-127.0.0.1-9091.token``; of a Unix socket, whose path is long, a hash of that."""
    if bind.startswith(UNIX):
        return f"admin-unix-{sha256(bind.encode()).hexdigest()[:16]}.token"
    host, port = parse_address(bind, bind=True)
    return f"admin-{host or 'any'}-{port}.token"


def _directories(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where such files may be, the best place first."""
    if environ.get("RUNTIME_DIRECTORY"):
        yield Path(environ["RUNTIME_DIRECTORY"].split(":")[0])
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"], "tcplb")
    if os.geteuid() == 0:
        yield _FOR_ROOT
    home = environ.get("HOME")
    yield (Path(home) if home else Path.home()) / ".local" / "state" / "tcplb"


def _make_directory(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise TokenError(f"{quote(str(directory))} is no directory, so the token cannot be in it")
    _check_owner(directory, status)
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise TokenError(f"others may write into {quote(str(directory))}: chmod go-w it")


def _read_or_make(path: Path) -> str:
    try:
        return _read(path)
    except FileNotFoundError:
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    """Write a new token under another name and link it to `path`, unless somebody else just did."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(file, "w", encoding="ascii") as text:  # noqa: PTH123 - a descriptor, no path
            text.write(secrets.token_urlsafe(32) + "\n")
            text.flush()
            os.fsync(file)
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path, follow_symlinks=False)
    finally:
        unfinished.unlink(missing_ok=True)


def _read(path: Path, *, of_others: bool = False) -> str:
    """The token in the file at `path`. Raises OSError and TokenError.

    A client may take that `of_others`: all that it does with it is to show it to the server.
    """
    try:
        # Not to wait, should it be a FIFO.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TokenError(f"{quote(str(path))} is a symbolic link, not a file") from None
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise TokenError(f"{quote(str(path))} is not a regular file")
        if not of_others:
            _check_owner(path, status)
            _check_mode(path, status)
        content = os.read(file, LONGEST_TOKEN + 2)
    finally:
        os.close(file)
    return _checked(path, content)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise TokenError(f"{quote(str(path))} belongs to another user (uid {status.st_uid})")


def _check_mode(path: Path, status: os.stat_result) -> None:
    if stat.S_IMODE(status.st_mode) & _OTHERS_MAY:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise TokenError(
            f"others may read or write {quote(str(path))} (its mode is {mode}): chmod 600 it, and "
            "remove it if somebody may have read it, then a new one is made"
        )


def _checked(path: Path, content: bytes) -> str:
    token = content.decode("ascii", "replace").strip()
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not all("!" <= c <= "~" for c in token):
        raise TokenError(
            f"{quote(str(path))} does not have a token in it, which is {SHORTEST_TOKEN} to "
            f"{LONGEST_TOKEN} printable characters: remove it, then a new one is made"
        )
    return token
