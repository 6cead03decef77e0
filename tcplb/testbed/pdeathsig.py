"""Turns into a command that gets SIGTERM when its parent is gone, however that ended.

`python pdeathsig.py PARENT COMMAND [ARGUMENT…]`, where PARENT is the process id of the parent. It
does so in a process of its own, because between fork and exec no Python may run in a process that
has threads. Linux knows how to do it; elsewhere, the command is run without.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _ask_for_signal(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    # If it has died before it was asked about, there will be no signal.
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    if sys.platform == "linux":
        _ask_for_signal(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - that is what it is for
