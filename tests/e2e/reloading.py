"""A balancer that is reloaded: its file, the signal, and what it says of it."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom

from tests.processes import WAIT, Running, echoed, tcplb

_OUTCOME = r"tcplb\.reload: (reloaded: .*|reload failed, .*)"


class File:
    """A settings file with some listeners and pools, which is replaced in one step."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tcplb.toml"

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def say(self, listeners: Mapping[str, str], pools: Mapping[str, str], rest: str = "") -> None:
        """Write listeners and pools, each as its lines of TOML."""
        parts = [rest]
        parts += [f'[[listeners]]\nname = "{name}"\n{lines}' for name, lines in listeners.items()]
        parts += [f"[pools.{name}]\n{lines}" for name, lines in pools.items()]
        self.write("\n".join(parts))


def backends(pool: str, more: Mapping[str, str] | None = None, **ports: int) -> str:
    """Return the lines for backends of these names; `more` has further lines for some."""
    return "".join(
        f'[[pools.{pool}.backends]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\n'
        f"{(more or {}).get(name, '')}\n"
        for name, port in ports.items()
    )


def on(port: int, pool: str = "web", more: str = "") -> str:
    """Return the lines of a listener."""
    return f'bind = "127.0.0.1:{port}"\npool = "{pool}"\n{more}\n'


@contextmanager
def serving(file: File, workers: int = 1, *flags: str) -> Iterator[Running]:
    """Serve by the file; all that is said of internal errors is a failure."""
    flags = ("--config", str(file.path), "--workers", str(workers), *flags)
    with tcplb("serve", *flags) as lb:
        lb.wait_for("listening on")
        yield lb
        assert "Traceback" not in lb.output
        assert "internal error" not in lb.output


def listening_port() -> int:
    """Return a port for a listener that is closed and opened again.

    No connection of anybody has it meanwhile: it is below those that the kernel gives to clients.
    """
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    while True:
        port = SystemRandom().randrange(1024, first)
        with suppress(OSError), socket.create_server(("", port)):
            return port


def outcomes(lb: Running) -> int:
    return len(re.findall(_OUTCOME, lb.output))


def hang_up(lb: Running) -> str:
    """Send SIGHUP, wait until it has been dealt with, and return what was said of it."""
    before, lines = outcomes(lb), len(lb.lines)
    lb.signal(signal.SIGHUP)
    lb.wait_for(_OUTCOME, count=before + 1)
    return "\n".join(lb.lines[lines:])


def reload(lb: Running) -> str:
    """Reload, and see that it has been done."""
    said = hang_up(lb)
    assert "tcplb.reload: reloaded: " in said, said
    return said


def reload_fails(lb: Running) -> str:
    """Reload, and see that it has not been done; return why."""
    before = lb.output.count("reload failed, nothing has changed:")
    hang_up(lb)
    # The reasons follow, in lines of their own.
    lb.wait_for(r"error   tcplb\.reload:   \S", count=before + 1)
    return lb.output.rpartition("reload failed, nothing has changed:")[2]


def talking(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a client that has exchanged bytes with a backend."""
    client = socket.create_connection((host, port), timeout=WAIT)
    echoed(client)
    return client


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int) -> int:
    """Return how much memory a process has in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1])
