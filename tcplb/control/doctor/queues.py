"""Where the kernel keeps connections that nobody has accepted yet, and those it keeps track of."""

from __future__ import annotations

from collections.abc import Iterator

from tcplb.config.models import Config
from tcplb.control.doctor.descriptors import wanted_connections
from tcplb.control.doctor.finding import Finding, ok, problem, unknown, warning
from tcplb.control.doctor.machine import Machine, set_to

_SHORT = 4096
"""Clients. The default of Linux since 5.4; before, it was 128."""
_SHORT_SYN = 1024
_GOOD = 65535
_FULL, _NEARLY_FULL = 0.95, 0.8
"""Parts of the table of tracked connections."""


def check_queues(config: Config, machine: Machine) -> Iterator[Finding]:
    """Check the backlog, half-open connections, what becomes of a queue, and the firewall."""
    yield _backlog(machine)
    yield _half_open(machine)
    yield _migration(machine)
    yield _tracking(config, machine)


def _backlog(machine: Machine) -> Finding:
    check = "net.core.somaxconn"
    most = machine.number(check)
    if most is None:
        return unknown(check, "not to be read here")
    what = f"{most} clients may wait for each worker to accept them"
    if most < _SHORT:
        return warning(check, f"only {what}", set_to(check, _GOOD))
    return ok(check, what)


def _half_open(machine: Machine) -> Finding:
    """Without cookies the kernel drops SYNs beyond this number; with them it is no matter."""
    check = "net.ipv4.tcp_max_syn_backlog"
    most, cookies = machine.number(check), machine.number("net.ipv4.tcp_syncookies")
    if most is None or cookies is None:
        return unknown(check, "not to be read here")
    if cookies:
        return ok(check, f"{most} half-open connections; SYN cookies stand in beyond that")
    what = f"{most} half-open connections, and no SYN cookies beyond that"
    if most < _SHORT_SYN:
        return warning(check, what, set_to("net.ipv4.tcp_syncookies", 1))
    return ok(check, what)


def _migration(machine: Machine) -> Finding:
    check = "net.ipv4.tcp_migrate_req"
    value = machine.number(check)
    if value is None:
        return unknown(check, "this kernel does not have it; Linux has since 5.14")
    if value:
        return ok(check, "clients in the queue of a worker's socket that is closed go to another")
    what = "if tcplb is killed and another one shares its address, clients in its queues are reset"
    return warning(check, what, set_to(check, 1))


def _tracking(config: Config, machine: Machine) -> Finding:
    check = "connection tracking"
    name = "net.netfilter.nf_conntrack_max"
    most, count = machine.number(name), machine.number("net.netfilter.nf_conntrack_count")
    if most is None or count is None:
        return ok(check, "the firewall does not track connections, or not to be seen here")
    what = f"{count} of {most} connections are tracked"
    advice = set_to(name, 2 * most)
    if count >= most * _FULL:
        return problem(check, f"{what}: new ones are dropped when it is full", advice)
    if count >= most * _NEARLY_FULL:
        return warning(check, f"{what}: new ones are dropped when it is full", advice)
    wanted = wanted_connections(config)
    if wanted is not None and most < 2 * wanted:
        needed = f"limits.max_connections = {wanted} needs {2 * wanted}, both sides counted"
        return warning(check, f"{what}, and {needed}", set_to(name, 4 * wanted))
    return ok(check, what)
