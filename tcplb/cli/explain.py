"""`tcplb explain`: where would this connection go, and why?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import click

from tcplb.cli.explain_report import Answer, as_json, as_text
from tcplb.cli.rehearsal import (
    backend_names,
    check_name,
    echo_json,
    format_option,
    named_pool,
    pool_option,
    seed_option,
    split_assignment,
)
from tcplb.cli.settings import SettingsCommand, load_settings, settings_options
from tcplb.config.models import Config, ListenerConfig
from tcplb.config.units import parse_address
from tcplb.control.plan import PoolPlan, plan_listener
from tcplb.control.rehearsal import SupposedOccupancy, rehearsal_pool
from tcplb.loadgen.reports.figures import printable
from tcplb.policy.access_list import AccessList
from tcplb.policy.addresses import client_address
from tcplb.policy.explain import Arrival, Key, explain_choice, key_of
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Checked, State, Transition

_SUPPOSED_EJECTION = 3600.0
"""Seconds that a backend stays ejected that is supposed to be: any time would do."""
_LONGEST_SHOWN = 60


@click.command(cls=SettingsCommand)
@click.option("--client", required=True, metavar="ADDRESS", help="The client's address.")
@click.option("--request", metavar="TARGET", help="It asks for this, with HTTP: /path.")
@click.option("--first-line", metavar="TEXT", help="It sends this line first.")
@click.option(
    "--destination",
    metavar="HOST:PORT",
    help="It has connected to this address. [default: what the listener binds]",
)
@click.option("--listener", metavar="NAME", help="The listener it comes by. [default: the first]")
@pool_option
@click.option(
    "--down", multiple=True, metavar="BACKEND", help="Suppose checks say it is down; repeatable."
)
@click.option(
    "--ejected", multiple=True, metavar="BACKEND", help="Suppose it is ejected; repeatable."
)
@click.option(
    "--full", multiple=True, metavar="BACKEND", help="Suppose it has no room left; repeatable."
)
@click.option(
    "--tried", multiple=True, metavar="BACKEND", help="The connection has tried it; repeatable."
)
@click.option(
    "--active",
    multiple=True,
    metavar="BACKEND=N",
    help="Suppose it has so many connections; repeatable.",
)
@seed_option
@format_option
@settings_options
@click.pass_context
def explain(ctx: click.Context, /, **options: Any) -> None:
    """Say which backend a connection would get, and why.

    Shows the key and where it comes from, the access rule that decides, and what becomes of each
    backend in the order of the key. Nothing is opened; it is what a process that has just started
    would do, with all backends up unless you suppose otherwise.

    \b
    Examples:
      tcplb explain --strategy hash --client 203.0.113.5 --request /hello
      tcplb explain --config tcplb.toml --client 203.0.113.5 --down web-2
      tcplb explain --config tcplb.toml --client ::1 --listener web --format json
    """  # noqa: D301 - click wants the character, not a backslash and a b
    config = load_settings(ctx).config
    answer = _answer(config, options)
    if options["output_format"] == "json":
        echo_json(as_json(answer))
    else:
        for line in as_text(answer):
            click.echo(line)


def _answer(config: Config, options: dict[str, Any]) -> Answer:
    client = _client(options["client"])
    listener, plan = _listener_and_pool(config, options["listener"], options["pool"])
    rules = AccessList(plan_listener(listener).access if listener else ())
    plan, active, notes = _suppose_load(plan, options)
    pool = rehearsal_pool(
        plan, seed=options["seed"], occupancy=SupposedOccupancy(active), failed=notes.append
    )
    for name in options["tried"]:
        check_name(name, backend_names(plan), "--tried")
    notes += _suppose_health(pool, options)
    key = _key(plan, pool, client, listener, options)
    return Answer(
        client=client,
        listener=listener.name if listener else None,
        allowed=rules.permits(client),
        rule=rules.deciding(client),
        plan=plan,
        keyed=pool.keyed,
        key=key,
        explanation=explain_choice(pool, key.value, now=0.0, exclude=options["tried"]),
        notes=tuple(notes),
    )


# -- what is asked ----------------------------------------------------------------------------


def _client(text: str) -> str:
    if client_address(text) is None:
        message = f'must be an IP address, without a port (got "{printable(text, _LONGEST_SHOWN)}")'
        raise click.BadParameter(message, param_hint="--client")
    return text


def _listener_and_pool(
    config: Config, listener_name: str | None, pool_name: str | None
) -> tuple[ListenerConfig | None, PoolPlan]:
    listeners = {listener.name: listener for listener in config.listeners}
    if listener_name is not None:
        listener = listeners[check_name(listener_name, listeners, "--listener")]
        if pool_name not in (None, listener.pool):
            message = f"the listener {listener_name} has the pool {listener.pool}"
            raise click.BadParameter(message, param_hint="--pool")
        return listener, named_pool(config, listener.pool)
    if pool_name is not None:
        pool = named_pool(config, pool_name)
        return next((one for one in config.listeners if one.pool == pool_name), None), pool
    return config.listeners[0], named_pool(config, config.listeners[0].pool)


def _suppose_load(
    plan: PoolPlan, options: dict[str, Any]
) -> tuple[PoolPlan, Sequence[int], list[str]]:
    """Return the plan, its backends' connections, and what has to be said about them."""
    names = backend_names(plan)
    active = dict.fromkeys(names, 0)
    for text in options["active"]:
        name, number = split_assignment(text, "--active")
        active[check_name(name, names, "--active")] = number
    backends, notes = list(plan.backends), []
    for name in options["full"]:
        position = names.index(check_name(name, names, "--full"))
        if not backends[position].max_connections:
            limit = max(1, active[name])
            backends[position] = replace(backends[position], max_connections=limit)
            notes.append(f"{name} has no max_connections: it is taken for {limit}")
        active[name] = max(active[name], backends[position].max_connections)
    return replace(plan, backends=tuple(backends)), list(active.values()), notes


def _suppose_health(pool: Pool, options: dict[str, Any]) -> Iterator[str]:
    """Let `pool` know who is out; yield what it does not believe."""
    names = [backend.name for backend in pool.backends]
    for name in options["ejected"]:
        check_name(name, names, "--ejected")
        news = Transition(name, State.EJECTED, "ejected", until=_SUPPOSED_EJECTION, ejections=1)
        if not pool.learn(news, now=0.0):
            yield (
                f"{name} is not ejected: the last usable backend never is, nor more of them than "
                "eject.max_ejected_percent"
            )
    for name in options["down"]:
        check_name(name, names, "--down")
        pool.learn(Transition(name, Checked.DOWN, "is down"), now=0.0)


def _key(
    plan: PoolPlan,
    pool: Pool,
    client: str,
    listener: ListenerConfig | None,
    options: dict[str, Any],
) -> Key:
    arrival = Arrival(client, _first_line(options), _destination(listener, options))
    if not pool.keyed:
        return Key(b"", "none: the strategy does not look at it")
    try:
        return key_of(plan.rules.key_rule, arrival)
    except ValueError as error:
        message = f"is needed, because the hash key is the destination and {error}"
        raise click.BadParameter(message, param_hint="--destination") from error


def _first_line(options: dict[str, Any]) -> bytes | None:
    request, line = options["request"], options["first_line"]
    if request is not None and line is not None:
        raise click.UsageError("--request and --first-line say the same: give one of them")
    if request is not None:
        line = f"GET {request} HTTP/1.1"
    return None if line is None else line.encode(errors="surrogateescape")


def _destination(
    listener: ListenerConfig | None, options: dict[str, Any]
) -> tuple[str, int] | None:
    text = options["destination"]
    if text is not None:
        try:
            host, port = parse_address(text)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--destination") from error
        return host, port
    if listener is None or listener.port == 0:
        return None
    address = client_address(listener.host)
    unspecific = address is None or address.is_unspecified
    return None if unspecific else (listener.host, listener.port)
