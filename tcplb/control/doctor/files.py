"""May tcplb write its log, and who may write its settings?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote

from tcplb.config.wording import printable
from tcplb.control.doctor.finding import Finding, ok, problem, unknown, warning


def check_access_log(target: str) -> Finding:
    """Check that the access log can be written; `target` is a path, "-" or "none"."""
    check = "access log"
    if target in ("-", "none"):
        return ok(check, "goes to standard output" if target == "-" else "none is wanted")
    path = Path(target)
    try:
        return _check_log_file(check, path, printable(target))
    except OSError as error:  # of a directory above it, most likely
        what = f"{printable(target)} cannot be looked at by this user: {error.strerror}"
        see = f"namei -l {_word(path)} shows which directory is closed to it"
        return problem(check, what, see)


def _check_log_file(check: str, path: Path, shown: str) -> Finding:
    if path.is_dir():
        return problem(check, f"{shown} is a directory", "name a file in it")
    if path.exists():
        return _may_write(check, path, shown, f"chown $USER {_word(path)}")
    if not path.parent.is_dir():
        make = f"mkdir -p {_word(path.parent)}"
        return problem(check, f"the directory of {shown} does not exist", make)
    allow = f"chown $USER {_word(path.parent)}"
    return _may_write(check, path.parent, f"the directory of {shown}", allow)


def _may_write(check: str, path: Path, shown: str, todo: str) -> Finding:
    if os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return ok(check, f"{shown} can be written")
    what = f"{shown} cannot be written by this user"
    return problem(check, what, f"{todo}, with the user that tcplb runs as")


def check_config_file(path: Path | None) -> Finding:
    """Check that not everybody can write the file of settings, if there is one.

    Whoever can may run code as tcplb: a strategy may be a function of the user's own.
    """
    check = "settings file"
    if path is None:
        return ok(check, "there is none")
    shown = printable(str(path))
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return unknown(check, f"{shown}: {error.strerror}")
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        return warning(check, f"anybody can write {shown}", f"chmod o-w {_word(path)}")
    return ok(check, f"not everybody can write {shown}")


def _word(path: Path) -> str:
    return quote(printable(str(path)))
