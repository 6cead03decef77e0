"""`tcplb ctl explain`: where would this connection go now, and why?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.names import pool_option
from tcplb.cli.ctl.output import facts, show, table
from tcplb.control.admin.models import Explanation
from tcplb.loadgen.reports.figures import NOTHING, count, printable

_LONGEST_KEY = 60
_CANDIDATE = ("backend", "verdict", "tier", "rank", "active")


@click.command()
@pool_option
@click.option("--client", metavar="ADDRESS", help="The client's IP address.")
@click.option("--first-line", metavar="TEXT", help="The line that it sends first.")
@format_option
@click.pass_obj
def explain(connection: Connection, /, **asked: Any) -> None:
    """Say which backend a connection would get from the running balancer now, and why.

    `tcplb explain` answers the same for a config, without a balancer.

    \b
    Example:
      tcplb ctl explain --pool web --first-line "GET /hello HTTP/1.1"
    """  # noqa: D301 - click wants the character, not a backslash and a b
    show(connection, connection.ask("GET", "explain", query=asked), Explanation, _lines)


def _lines(answer: Explanation) -> Iterator[str]:
    yield from facts(_facts(answer))
    yield ""
    rows = [
        (
            each.backend,
            each.verdict,
            str(each.tier),
            str(each.rank or NOTHING),
            count(each.active),
        )
        for each in answer.candidates
    ]
    yield from table([_CANDIDATE, *rows], right=_CANDIDATE[2:])
    yield ""
    yield _conclusion(answer)


def _facts(answer: Explanation) -> Iterator[tuple[str, str]]:
    yield "pool", answer.pool
    key = printable(answer.key, _LONGEST_KEY)
    yield "key", f'"{key}", {answer.key_from}' if answer.key else answer.key_from


def _conclusion(answer: Explanation) -> str:
    stage = printable(answer.stage)
    if answer.chosen is None:
        return f"No backend: {stage}."
    trial = ", as its trial" if answer.trial else ""
    return f"It goes to {printable(answer.chosen)}{trial}: {stage}."
