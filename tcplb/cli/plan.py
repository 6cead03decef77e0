"""`tcplb plan`: how many keys does a change of the backends move, and where to?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tcplb.cli.plan_report import Change, as_json, as_text
from tcplb.cli.rehearsal import (
    backend_names,
    check_name,
    echo_json,
    format_option,
    pool_option,
    split_assignment,
)
from tcplb.cli.settings import SettingsCommand, load_settings, settings_options
from tcplb.config.models import BackendConfig, Config
from tcplb.config.settings import Override, load, parse_backend
from tcplb.control.plan import PoolPlan, plan_backend, plan_pool
from tcplb.control.rehearsal import rehearsal_pool
from tcplb.policy.backend import MAX_WEIGHT
from tcplb.policy.names import StrategyName
from tcplb.policy.placement import compare, synthetic_keys, weight_shares
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Mode

KEYS = 100_000
"""Keys that are looked at."""
_FEWEST_KEYS = 2_000
_LOTS = 3_000_000
"""Lots that rendezvous may draw, one for each key and backend: a second or two."""

Plans = dict[str, PoolPlan]


@click.command(cls=SettingsCommand)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[OLD NEW]")
@click.option("--remove", multiple=True, metavar="BACKEND", help="Take it out; repeatable.")
@click.option(
    "--add",
    multiple=True,
    metavar="[NAME=]HOST:PORT[,OPTION]...",
    help="Add it, with the options of --backend; repeatable.",
)
@click.option("--weight", multiple=True, metavar="BACKEND=N", help="Change its weight; repeatable.")
@pool_option
@click.option(
    "--keys",
    type=click.IntRange(1, 10_000_000),
    metavar="N",
    help=f"Keys to look at. [default: {KEYS}; less for rendezvous with many backends]",
)
@format_option
@settings_options
@click.pass_context
def plan(ctx: click.Context, /, files: tuple[Path, ...], **options: Any) -> None:
    """Say which share of the keys a change moves, and from whom to whom.

    Compares two settings files, OLD and NEW, pool by pool; or the settings with themselves after
    --remove, --add and --weight. Draining and disabled backends get no keys, the others are taken
    to be up and idle. Nothing is opened or changed.

    \b
    Examples:
      tcplb plan --strategy hash --remove 127.0.0.1:8083
      tcplb plan --config tcplb.toml --pool web --add web-5=10.0.0.5:80 --weight web-1=2
      tcplb plan /etc/tcplb.toml tcplb.new.toml --format json
    """  # noqa: D301 - click wants the character, not a backslash and a b
    before, after = _two_files(ctx, files) if files else _edited(load_settings(ctx).config, options)
    if options["pool"] is not None:
        check_name(options["pool"], [*before, *after], "--pool")
    wanted = [name for name in before if options["pool"] in (None, name)]
    changes = [
        _change(name, before[name], after[name], options["keys"])
        for name in wanted
        if name in after
    ]
    removed = [name for name in wanted if name not in after]
    added = [name for name in after if name not in before and options["pool"] in (None, name)]
    if options["output_format"] == "json":
        echo_json(as_json(changes, removed, added))
    else:
        for line in as_text(changes, removed, added):
            click.echo(line)


# -- what is asked ----------------------------------------------------------------------------


def _two_files(ctx: click.Context, files: Sequence[Path]) -> tuple[Plans, Plans]:
    if len(files) != 2:
        raise click.UsageError("give two files, OLD and NEW; or one with --config, and a change")
    for parameter in ctx.command.params:
        name = parameter.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in ("files", "pool", "keys", "output_format"):
            raise click.UsageError(f"{parameter.opts[0]} does not go with two files")
    # As `tcplb check` does, without the environment: the files are what is compared.
    old, new = (_plans(load(file).config) for file in files)
    return old, new


def _plans(config: Config) -> Plans:
    return {name: plan_pool(name, pool) for name, pool in config.pools.items()}


def _edited(config: Config, options: dict[str, Any]) -> tuple[Plans, Plans]:
    plans = _plans(config)
    if not (options["remove"] or options["add"] or options["weight"]):
        raise click.UsageError("no change is given: --remove, --add, --weight, or two files")
    name = options["pool"]
    if name is None:
        name = _only_pool(plans)
    pool = plans[check_name(name, plans, "--pool")]
    return {name: pool}, {name: _edit(pool, options)}


def _only_pool(plans: Plans) -> str:
    if len(plans) > 1:
        message = f"is needed, because there are several pools ({', '.join(plans)})"
        raise click.BadParameter(message, param_hint="--pool")
    return next(iter(plans))


def _edit(pool: PoolPlan, options: dict[str, Any]) -> PoolPlan:
    """Return `pool` after the changes: first weights, then removals, then additions."""
    names = backend_names(pool)
    backends = dict(zip(names, pool.backends, strict=True))
    modes = dict(zip(names, pool.modes, strict=True))
    for text in options["weight"]:
        name, weight = split_assignment(text, "--weight")
        check_name(name, names, "--weight")
        if weight > MAX_WEIGHT:
            message = f"must be at most {MAX_WEIGHT} (got {weight})"
            raise click.BadParameter(message, param_hint="--weight")
        backends[name] = replace(backends[name], weight=weight)
    for name in options["remove"]:
        backends.pop(check_name(name, names, "--remove"), None)
    for config in _added(options["add"]):
        if config.name in backends:
            message = f"the pool has a backend called {config.name} already"
            raise click.BadParameter(message, param_hint="--add")
        backends[config.name] = plan_backend(config)
        modes[config.name] = Mode(config.state)
    if not backends:
        raise click.BadParameter("would leave the pool without a backend", param_hint="--remove")
    return replace(
        pool, backends=tuple(backends.values()), modes=tuple(modes[name] for name in backends)
    )


def _added(texts: Sequence[str]) -> tuple[BackendConfig, ...]:
    """Return the backends that `texts` describe. Raises ConfigError, which names the flag."""
    if not texts:
        return ()
    try:
        tables = [parse_backend(text) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--add") from error
    # The settings' own check has the words for what is wrong with one.
    config = load(None, [Override(("backends",), tables, "--add")]).config
    return next(iter(config.pools.values())).backends


# -- what comes of it -------------------------------------------------------------------------


def _change(name: str, before: PoolPlan, after: PoolPlan, keys: int | None) -> Change:
    old, new = rehearsal_pool(before), rehearsal_pool(after)
    comparison = None
    if old.keyed and new.keyed:
        comparison = compare(old, new, synthetic_keys(keys or _keys_for(before, after)))
    return Change(
        name,
        before,
        after,
        weight_shares(old),
        weight_shares(new),
        comparison,
        _remark(old, new),
    )


def _keys_for(*plans: PoolPlan) -> int:
    """Return how many keys can be looked at in a second or two."""
    lots = sum(len(plan.backends) for plan in plans if plan.strategy.name in _DRAWS_LOTS)
    return KEYS if not lots else max(_FEWEST_KEYS, min(KEYS, _LOTS // lots))


_DRAWS_LOTS = (StrategyName.RENDEZVOUS,)


def _remark(old: Pool, new: Pool) -> str:
    if not (old.keyed or new.keyed):
        return "Nothing is tied to a key: what moves is new connections only, by weight."
    if not old.keyed:
        return "Nothing is tied to a key before the change; after it, keys are."
    if not new.keyed:
        return "Nothing is tied to a key after the change; before it, keys are."
    if old.rules.key_rule != new.rules.key_rule:
        return (
            f"The hash key changes from {old.rules.key_rule} to {new.rules.key_rule}: the figures "
            "are for keys that are the same by both, and clients may have others."
        )
    return ""
