"""One process of a run: `python -m tcplb.loadgen.process`, started by `run.py`.

It reads its job from standard input, says that it is ready, and begins at the moment that it is
then given. It writes a line of JSON for each tick. More input, or the end of it, stops the load: so
it ends with the process that has started it, whatever becomes of that.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import select
import sys
import time
from typing import Any

from tcplb.loadgen.clients import life_of
from tcplb.loadgen.job import Job
from tcplb.loadgen.loop import Loop
from tcplb.loadgen.tally import Tally

TICK = "tick"
AT = "at"

_STDIN = 0


def main() -> None:
    """Do the share of a run that standard input describes."""
    # Unbuffered: what comes after the start belongs to the loop.
    with open(_STDIN, "rb", buffering=0, closefd=False) as control:
        job = Job.from_json(control.readline().decode())
        _raise_descriptor_limit()
        _wake_up_on_time()
        loop = Loop(job, _write_tick)
        life = life_of(loop)
        _write({"ready": True})
        began = control.readline()
    if not began:
        return
    loop.epoll.register(_STDIN, select.EPOLLIN)
    loop.scripts[_STDIN] = lambda _: loop.stop()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # what clients leave behind is hardly ever a cycle
    time.sleep(max(int(began) - time.monotonic_ns(), 0) / 1e9)
    loop.run(life, int(began))


def _write_tick(at: float, tally: Tally) -> None:
    _write({AT: at, TICK: tally.to_json()})


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _raise_descriptor_limit() -> None:
    """Allow as many connections as may be had without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _wake_up_on_time() -> None:
    """Let the kernel wake this process within a microsecond, not within its usual 50."""
    with contextlib.suppress(OSError), open("/proc/self/timerslack_ns", "w") as slack:  # noqa: PTH123
        slack.write("1000")


if __name__ == "__main__":
    # The parent may be gone; who reads it may have left.
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
