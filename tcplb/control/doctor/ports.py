"""The ports that the kernel picks for connections to backends."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from tcplb.config.models import Config
from tcplb.control.doctor.descriptors import wanted_connections
from tcplb.control.doctor.finding import Finding, ok, unknown, warning
from tcplb.control.doctor.machine import Machine, set_to

_RANGE = "net.ipv4.ip_local_port_range"
_RESERVED = "net.ipv4.ip_local_reserved_ports"
_REUSE = "net.ipv4.tcp_tw_reuse"
_FEW = 10_000
_WIDE = "1024 65535"
_TIME_WAIT = 60
"""Seconds that a closed connection keeps its port: TCP_TIMEWAIT_LEN of Linux."""


def check_ports(config: Config, machine: Machine) -> Iterator[Finding]:
    """Check how many ports there are, how soon they come back, and who else wants one of them."""
    numbers = machine.numbers(_RANGE)
    if numbers is None or len(numbers) != 2 or numbers[1] < numbers[0]:
        yield unknown(_RANGE, "not to be read here")
        return
    first, last = numbers
    yield _count(config, first, last)
    yield _return(config, machine, last - first + 1)
    yield from _inside(config, machine, range(first, last + 1))


def _count(config: Config, first: int, last: int) -> Finding:
    count = last - first + 1
    what = f"{first} to {last}: {count} connections at once to one address of a backend"
    wanted = _most_to_one_address(config)
    if count < max(wanted, _FEW):
        more = f", and up to {wanted} may be wanted" if wanted > count else ""
        return warning(_RANGE, what + more, set_to(_RANGE, _WIDE))
    return ok(_RANGE, what)


def _most_to_one_address(config: Config) -> int:
    """Return how many connections the busiest address gets if load is spread evenly."""
    total = wanted_connections(config) or 0
    most = 0
    for pool in config.pools.values():
        spread = -(-total // len({backend.address for backend in pool.backends}))
        most = max(most, spread, *(backend.max_connections for backend in pool.backends))
    return most


def _return(config: Config, machine: Machine, count: int) -> Finding:
    """A connection that tcplb closes first keeps its port for a minute, in TIME_WAIT."""
    value = machine.number(_REUSE)
    if value is None:
        return unknown(_REUSE, "not to be read here")
    if value == 1:
        return ok(_REUSE, "a port comes back one second after its connection")
    local = all(_is_loopback(b.host) for pool in config.pools.values() for b in pool.backends)
    if value == 2 and local:
        return ok(_REUSE, "on the loopback, a port comes back one second after its connection")
    what = (
        f"a port comes back {_TIME_WAIT} s after its connection: {count // _TIME_WAIT} new "
        "connections a second to one address of a backend"
    )
    return warning(_REUSE, what, set_to(_REUSE, 1))


def _inside(config: Config, machine: Machine, picked: range) -> Iterator[Finding]:
    """Whoever connects out may get the port that a server of this machine wants to bind."""
    check = "ports of servers"
    reserved = machine.sysctl(_RESERVED) or ""
    wanted = sorted(_ports_of_servers(config))
    exposed = [port for port in wanted if port in picked and not _is_in(port, reserved)]
    if not exposed:
        yield ok(check, "none is among those that the kernel picks for others")
        return
    listed = ", ".join(map(str, exposed))
    what = f"{listed}: the kernel may give it to an outgoing connection before the server binds it"
    values = [reserved, *map(str, exposed)] if reserved else map(str, exposed)
    yield warning(check, what, set_to(_RESERVED, ",".join(values)))


def _ports_of_servers(config: Config) -> set[int]:
    listeners = {listener.port for listener in config.listeners}
    # A backend on another machine has that machine's kernel to fear.
    return listeners | {
        backend.port
        for pool in config.pools.values()
        for backend in pool.backends
        if _is_loopback(backend.host)
    }


def _is_in(port: int, ranges: str) -> bool:
    """Whether `port` is in ``8080,9000-9100``."""
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        if first.isdecimal() and int(first) <= port <= int(last if last.isdecimal() else first):
            return True
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
