"""What tcplb runs on: Python, uvloop, splice and its pipes, processors."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version

from tcplb.config.models import Config
from tcplb.control.doctor.finding import Finding, ok, problem, unknown, warning
from tcplb.control.doctor.machine import Machine, set_to
from tcplb.dataplane.pipes import PIPE_SIZE
from tcplb.dataplane.splice import MOST_PIPES, splice_works

_PYTHON = (3, 11)
_UVLOOP = (0, 23)
_PIPES = "fs.pipe-user-pages-soft"


def check_python(given: str) -> Finding:
    """Check the version of Python, such as ``3.11.2``."""
    check, what = "python", f"{platform.python_implementation()} {given}"
    if _numbers(given) < _PYTHON:
        return problem(check, what, "install Python 3.11 or newer")
    return ok(check, what)


def check_uvloop(given: str | None) -> Finding:
    """Check the version of uvloop; None if it is not there."""
    check, install = "uvloop", "python -m pip install 'uvloop>=0.23'"
    if given is None:
        return problem(check, "not installed", install)
    if _numbers(given) < _UVLOOP:
        return problem(check, f"{given} closes descriptors that are not its own", install)
    return ok(check, given)


def installed(package: str) -> str | None:
    """Return the version of an installed package, None if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def check_engine(config: Config, *, error: str | None) -> Finding:
    """Check whether the splice engine works; `error` is what `try_splice` said."""
    check = "engine"
    if error is None:
        return ok(check, "splice works here")
    demanding = [one.name for one in config.listeners if one.engine == "splice"]
    if demanding:
        return problem(
            check,
            f"splice does not work here ({error}), and listener {demanding[0]} demands it",
            'engine = "auto" takes streams instead; in a container, allow splice(2)',
        )
    return warning(
        check,
        f"splice does not work here ({error}); streams does, at two to four times the cost",
        "run it on Linux; in a container, allow splice(2)",
    )


def try_splice() -> str | None:
    """Move a byte through a pipe inside the kernel; return why that is not possible, if not."""
    if not splice_works():
        return "needs Linux"
    try:
        with ExitStack() as opened:
            ours, theirs = map(opened.enter_context, socket.socketpair())
            out_of, into = os.pipe()
            opened.callback(os.close, out_of)
            opened.callback(os.close, into)
            theirs.send(b"x")
            os.splice(ours.fileno(), into, 1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def check_pipes(machine: Machine, workers: int) -> Finding:
    """Check whether a user other than root may have all the pipes that workers use for bulk."""
    pages = machine.number(_PIPES)
    if pages is None:
        return unknown(_PIPES, "not to be read here")
    needed = workers * MOST_PIPES * PIPE_SIZE // machine.page_size
    if not pages or pages >= needed:
        return ok(_PIPES, "enough for all the pipes that workers use for bulk")
    what = f"{pages} pages, and {needed} are needed for all the pipes that workers use for bulk"
    if machine.user == 0:
        return ok(_PIPES, f"{what}; no matter for root, which tcplb would run as")
    return warning(_PIPES, f"{what}: beyond that, they are small and slow", set_to(_PIPES, needed))


def check_processors(machine: Machine, workers: int) -> Iterator[Finding]:
    """Check whether there is a processor for each worker, by affinity and by the cgroup's quota."""
    check = "workers"
    quota = processor_quota(machine)
    allowed = machine.processors if quota is None else min(machine.processors, quota)
    limit = "" if quota is None else f" (cpu.max of the cgroup allows {quota:g})"
    what = f"workers: {workers}, processors: {machine.processors}{limit}"
    best = max(1, int(allowed))
    if workers > best:
        advice = f"workers = {best} in the settings, or more processors"
        yield warning(check, f"{what}: more workers than processors only wait", advice)
    else:
        yield ok(check, what)


def processor_quota(machine: Machine) -> float | None:
    """Return how many processors the cgroup and those around it allow at most; None for all.

    The quota over the period of cpu.max, as the kernel's cgroup-v2.rst has it. Those of version 1
    are not looked at.
    """
    lines = (machine.text("proc/self/cgroup") or "").splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return None
    parts = list(filter(None, own.split("/")))
    around = ("/".join(["sys/fs/cgroup", *parts[:depth]]) for depth in range(len(parts) + 1))
    quotas = (_quota(machine.text(f"{folder}/cpu.max")) for folder in around)
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(text: str | None) -> float | None:
    """Return the processors that ``150000 100000`` allows; None for ``max 100000``."""
    match (text or "").split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
            return int(quota) / int(period)
        case _:
            return None
