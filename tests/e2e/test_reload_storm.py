"""Reload after reload under load: no connection fails, and nothing is left of it in the end.

TCPLB_RELOADS says how many; more than the default are for when something has changed there.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from tests.e2e.reloading import (
    File,
    backends,
    descriptors,
    listening_port,
    memory,
    on,
    reload,
    serving,
    stop,
    talking,
)
from tests.e2e.test_workers import Load
from tests.processes import echo_backends, echoed, eventually, port_of

pytestmark = pytest.mark.e2e

RELOADS = int(os.environ.get("TCPLB_RELOADS", "60"))
STRATEGIES = ["round-robin", "hash", "least-connections", "maglev", "peak-ewma", "random"]
STATES = ["enabled", "draining", "disabled"]


def settings(file: File, port: int, side: int, servers: list[int], rng: Random) -> None:
    """Write settings by which at least one backend takes connections."""
    chosen = {f"b{n}": port for n, port in enumerate(servers[1:], 1) if rng.random() < 0.6}
    states = {
        name: f'state = "{rng.choice(STATES)}"\nweight = {rng.randint(0, 5)}' for name in chosen
    }
    fresh = {f"x{rng.randrange(10_000)}": servers[-1]}  # a name that there has not been yet
    head = f'strategy = "{rng.choice(STRATEGIES)}"\nslow_start = "{rng.choice(["0s", "2s"])}"\n'
    factor = "hash_balance_factor = 150\n" if '"hash"' in head and rng.random() < 0.5 else ""
    web = head + factor + backends("web", states, b0=servers[0], **chosen, **fresh)
    more = rng.choice(["", "max_connections = 900", f'idle_timeout = "{rng.randint(600, 900)}s"'])
    listeners = {rng.choice(["web", "web", "www"]): on(port, more=more)}
    if rng.random() < 0.3:
        listeners["side"] = on(side)
    file.say(listeners, {"web": web})


@pytest.mark.timeout(120 + 2 * RELOADS)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_storm(tmp_path: Path, workers: int) -> None:
    file, rng = File(tmp_path), Random(3)
    port, side = listening_port(), listening_port()
    with echo_backends(ports=(0, 0, 0, 0)) as running:
        servers = [port_of(each) for each in running]
        settings(file, port, side, servers, rng)
        with serving(file, workers, "--access-log", "none") as lb:
            processes = [lb.process.pid, *lb.children()]
            with Load.on(port) as load, talking(port) as first:
                for _ in range(5):
                    settings(file, port, side, servers, rng)
                    reload(lb)
                before = [memory(pid) for pid in processes]
                for _ in range(RELOADS):
                    settings(file, port, side, servers, rng)
                    reload(lb)
                load.wait_for_more()
                echoed(first)
            assert load.errors == []
            file.say({"web": on(port)}, {"web": backends("web", b0=servers[0])})
            reload(lb)
            # What was there before the storm: each worker has the one socket, and no session.
            sockets = [descriptors(pid) for pid in processes]
            file.say({"web": on(port), "side": on(side)}, {"web": backends("web", b=servers[0])})
            reload(lb)
            file.say({"web": on(port)}, {"web": backends("web", b0=servers[0])})
            reload(lb)
            eventually(lambda: [descriptors(pid) for pid in processes] <= sockets)
            grown = [memory(pid) - old for pid, old in zip(processes, before, strict=True)]
            assert max(grown) < 4096 + 2 * RELOADS, f"KiB more: {grown}"
            stop(lb)
