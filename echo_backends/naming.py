"""A raw echo that can tell who echoes: pure functions, no sockets.

A client that begins with the question is told the server's address, and is echoed from then on.
What is not HTTP and does not begin so is echoed as ever, so an ordinary client never notices.
"""

from __future__ import annotations

QUESTION = b"\0tcplb who?\n"
"""Asked as the first bytes of a connection. Nobody types it, and no HTTP request begins so."""


def answer(address: str) -> bytes:
    """Return what the server at `address` (`127.0.0.1:8081`) says to the question.

    It ends with the end of a line, as the question does.
    """
    return b"\0tcplb I am %s\n" % address.encode()


def may_become_question(data: bytes) -> bool:
    """Whether `data` is the beginning of the question, but not the whole of it."""
    return len(data) < len(QUESTION) and QUESTION.startswith(data)
