"""Are there enough file descriptors for the connections that are wanted?"""

from __future__ import annotations

from collections.abc import Iterator

from tcplb.config.models import Config
from tcplb.control.doctor.finding import Finding, ok, problem, unknown, warning
from tcplb.control.doctor.machine import Machine, set_to
from tcplb.control.limits import DESCRIPTORS_PER_SESSION, RESERVED_DESCRIPTORS

_FEW = 4096
"""Connections. What fewer fit than is most likely a limit that nobody has thought of."""
_GOOD = 1 << 16
"""Descriptors to advise where the config does not say how many connections it wants."""
_UNLIMITED = -1


def descriptors_for(connections: int) -> int:
    """Return how many descriptors a worker needs that may serve so many connections."""
    return connections * DESCRIPTORS_PER_SESSION + RESERVED_DESCRIPTORS


def connections_with(descriptors: int) -> int:
    """Return how many connections a worker can serve with so many descriptors."""
    return max(1, (descriptors - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_SESSION)


def wanted_connections(config: Config) -> int | None:
    """Return `limits.max_connections`; None for "auto"."""
    wanted = config.limits.max_connections
    return None if wanted == "auto" else int(wanted)


def check_descriptors(config: Config, machine: Machine, workers: int) -> Iterator[Finding]:
    """Check the limits of open files: the process's, a process's at most, and the system's."""
    wanted = wanted_connections(config)
    needed = None if wanted is None else descriptors_for(wanted)
    yield _of_process(machine.open_files[1], wanted, needed)
    yield _at_most(machine, needed or 0)
    yield _of_system(machine, needed or _needed_by_auto(machine), workers)


def _needed_by_auto(machine: Machine) -> int:
    hard = machine.open_files[1]
    return _GOOD if hard == _UNLIMITED else min(hard, _GOOD)


def _of_process(hard: int, wanted: int | None, needed: int | None) -> Finding:
    check = "open files"
    # The soft limit is no matter: tcplb raises it to the hard one when it starts.
    if hard == _UNLIMITED:
        return ok(check, "no limit")
    room = f"the hard limit of {hard} allows {connections_with(hard)} connections in each worker"
    if wanted is not None and needed is not None and needed > hard:
        return problem(
            check,
            f"{room}, and limits.max_connections = {wanted} needs {needed}",
            f"LimitNOFILE={needed} in the unit file, or as root before the start: ulimit -n "
            f"{needed}",
        )
    if wanted is None and connections_with(hard) < _FEW:
        advice = f"LimitNOFILE={_GOOD} in the unit file, or as root before the start: ulimit -n "
        return warning(check, room, f"{advice}{_GOOD}")
    return ok(check, room)


def _at_most(machine: Machine, needed: int) -> Finding:
    check = "fs.nr_open"
    most = machine.number(check)
    if most is None:
        return unknown(check, "not to be read here")
    if most < needed:
        what = f"no process may have more than {most} open files, and {needed} are needed"
        return problem(check, what, set_to(check, needed))
    return ok(check, f"a process may be given up to {most} open files")


def _of_system(machine: Machine, needed: int, workers: int) -> Finding:
    check = "fs.file-max"
    most = machine.number(check)
    if most is None:
        return unknown(check, "not to be read here")
    in_use = (machine.numbers("fs.file-nr") or (0,))[0]
    total = in_use + workers * needed
    if most < total:
        what = f"{most} files may be open on the whole machine, and up to {total} may be needed"
        return warning(check, what, set_to(check, total))
    return ok(check, f"{most} files may be open on the whole machine; {in_use} are")
