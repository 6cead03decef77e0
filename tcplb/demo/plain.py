"""Plain lines, for where there is no terminal, and before and after the live view."""

from __future__ import annotations

from tcplb.demo.state import Health, Picture

_WHERE = {
    "hash": "a path always meets the same backend",
    "maglev": "a path always meets the same backend",
    "rendezvous": "a path always meets the same backend",
    "round-robin": "the backends take turns",
    "least-connections": "the backend that is least busy answers",
    "random": "any backend answers",
    "power-of-two": "the less busy one of two answers",
    "peak-ewma": "the one of two that is faster answers",
    "first": "the first backend answers everything",
}


def try_commands(picture: Picture) -> list[tuple[str, str]]:
    """Return commands that are worth a try, and what each of them shows."""
    url = picture.url
    port = picture.rows[1].name.rpartition(":")[2] if len(picture.rows) > 1 else "PORT"
    return [
        (f"curl {url}/hello", _WHERE.get(picture.strategy, "")),
        (f"curl -x {url} http://any.name/hello", "as through a proxy"),
        ("kill -9 PID", "a pid from above: its paths move on"),
        (f"echo-backends --ports {port}", "bring it back: its paths come back too"),
    ]


def invitation(picture: Picture) -> str:
    """Return what to say when everything has started."""
    commands = try_commands(picture)
    width = max(len(command) for command, _ in commands)
    listed = "\n".join(f"  {command:{width}}  {shows}" for command, shows in commands)
    return (
        f"\nThe balancer listens on {picture.url}. Try, in another terminal:\n\n"
        f"{listed}\n\n^C stops everything.\n"
    )


def status(picture: Picture) -> str:
    """Return one line on how it is going."""
    backends = ", ".join(
        f"{row.name} {_but_up(row.health)}{row.share:.0%} {row.rate:.1f}/s" for row in picture.rows
    )
    return f"{picture.strategy}: {backends}; {totals(picture)}"


def totals(picture: Picture) -> str:
    """Return what there was so far: what clients got, and what the light load's saw."""
    return (
        f"{picture.connections} connections, {picture.retried} of them sent on to another backend, "
        f"{picture.failed} turned away; "
        f"light load: {picture.load_answered} answered, {picture.load_errors} errors"
    )


def _but_up(health: Health) -> str:
    return "" if health is Health.UP else f"{health.upper()} "
