"""Whom a raw connection has reached: a question that an echo backend of this project answers.

Any other echo server sends the question back, which is no answer. `echo_backends/naming.py` is the
other side; a test holds the two together.
"""

from __future__ import annotations

import re

QUESTION = b"\0tcplb who?\n"
"""Sent first on a raw connection. Nobody types it, and no HTTP request begins so."""

MAX_ANSWER = 128
"""Bytes of the longest answer, with the end of its line."""

_ANSWER = re.compile(rb"\0tcplb I am ([!-~]+)\n")


def parse_name(answer: bytes) -> str | None:
    """Return who answers by this line; None for the question echoed, and for anything else."""
    match = _ANSWER.fullmatch(answer)
    return match[1].decode("ascii") if match and len(answer) <= MAX_ANSWER else None
