"""`tcplb simulate`: what another strategy would have made of yesterday's connections."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tcplb.cli.exits import Exit
from tcplb.cli.rehearsal import check_name, echo_json, format_option, pool_option, seed_option
from tcplb.cli.settings import SettingsCommand, load_settings, settings_options
from tcplb.cli.simulate_report import as_json, as_text, names_in_words, reason
from tcplb.config.models import Config
from tcplb.config.settings import Settings
from tcplb.config.units import parse_address
from tcplb.control.plan import PoolPlan, plan_pool
from tcplb.control.replay.log import Log, LogReader
from tcplb.control.replay.result import replay
from tcplb.loadgen.reports.figures import printable
from tcplb.policy.backend import Backend
from tcplb.policy.names import KeyRule, parse_key_rule
from tcplb.policy.transition import Mode

_DEFAULT = "default"
"""The origin of a setting that nobody has written."""


class _SimulateCommand(SettingsCommand):
    """The settings flags, of which `--strategy` may be repeated."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        for parameter in self.params:
            if parameter.name == "strategy" and isinstance(parameter, click.Option):
                parameter.multiple = True
                parameter.help = f"{parameter.help} Repeatable: they are compared."


@click.command(cls=_SimulateCommand)
@click.argument("log", type=click.File(encoding="utf-8", errors="backslashreplace"), metavar="LOG")
@pool_option
@click.option(
    "--key-from",
    type=click.Choice(["log", "client"]),
    default="log",
    show_default=True,
    help="Where the keys come from: the log, or the client's address where it has none; or the "
    "client's address always.",
)
@seed_option
@format_option
@settings_options
@click.pass_context
def simulate(ctx: click.Context, /, log: Any, **options: Any) -> None:
    """Replay a JSON access log through a strategy, or through several to compare them.

    LOG is a file, or - for standard input, as `tcplb serve --log-format json` writes it. Each
    connection arrives when it did and lasts as long as it did; the strategies choose anew. Time is
    virtual and nothing is opened. Without backends in the settings, those of the log are used, all
    of one weight.

    \b
    Examples:
      tcplb simulate --strategy hash --strategy least-connections access.log
      tcplb simulate --config tcplb.toml --pool web access.log
      zcat access.log.*.gz | tcplb simulate --strategy maglev --format json -
    """  # noqa: D301 - click wants the character, not a backslash and a b
    every = _every_settings(ctx)
    reader = LogReader(
        _key_rule(every[0].config, options["pool"]),
        pool=options["pool"],
        key_from_client=options["key_from"] == "client",
    )
    content = reader.read(log)
    if not content.arrivals:
        click.echo(f"tcplb: {_nothing_read(content, options['pool'])}", err=True)
        ctx.exit(Exit.FAILURE)
    if options["pool"] is None and len(content.pools) > 1:
        names = names_in_words(content.pools)
        message = f"is needed, because the log is of several pools ({names})"
        raise click.BadParameter(message, param_hint="--pool")
    plans = [_plan(settings, content, options["pool"]) for settings in every]
    results = [replay(plan, content.arrivals, seed=options["seed"]) for plan in plans]
    if options["output_format"] == "json":
        echo_json(as_json(content, results))
    else:
        for line in as_text(content, results):
            click.echo(line)


# -- what is asked ----------------------------------------------------------------------------


def _every_settings(ctx: click.Context) -> list[Settings]:
    """Return the settings with each of the strategies in turn. Raises ConfigError."""
    strategies = ctx.params["strategy"] or (None,)
    every = []
    for strategy in dict.fromkeys(strategies):
        ctx.params["strategy"] = strategy
        every.append(load_settings(ctx))
    return every


def _pool_name(config: Config, wanted: str | None) -> str:
    """Return the name of the pool in `config`: of several, the one that is wanted."""
    if len(config.pools) == 1:  # whatever it is called in the log
        return next(iter(config.pools))
    if wanted is None:
        message = f"is needed, because there are several pools ({', '.join(config.pools)})"
        raise click.BadParameter(message, param_hint="--pool")
    return check_name(wanted, config.pools, "--pool")


def _key_rule(config: Config, wanted: str | None) -> KeyRule:
    return parse_key_rule(config.pools[_pool_name(config, wanted)].hash_key)


def _plan(settings: Settings, log: Log, wanted: str | None) -> PoolPlan:
    """Return the pool that is to be tried, with the backends of the log if it has none."""
    config = settings.config
    name = _pool_name(config, wanted)
    plan = plan_pool(name, config.pools[name])
    if settings.origin_of(("pools", name, "backends")) != _DEFAULT or not log.backends:
        return plan
    backends = tuple(_backend(one) for one in log.backends)
    return replace(plan, backends=backends, modes=(Mode.ENABLED,) * len(backends))


def _backend(name: str) -> Backend:
    """Return a backend of the log. Only a strategy of the user's own looks at its address."""
    try:
        host, port = parse_address(name)
    except ValueError:
        return Backend(name, name, 0)
    return Backend(name, host, port)


def _nothing_read(log: Log, pool: str | None) -> str:
    if log.first_bad and not log.pools:
        return (
            "no line is of a JSON access log, which `tcplb serve --log-format json` writes; "
            f"{reason(log)}"
        )
    if log.pools and pool is not None and pool not in log.pools:
        names = names_in_words(log.pools)
        return f"the log has no connection of the pool {printable(pool)}, only of {names}"
    if log.unplaced:
        return "all connections in the log ended before a backend was to be chosen"
    return "the log is empty"
