"""What `explain`, `plan` and `simulate` share: which pool and backend is meant, and figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from tcplb.config.models import Config
from tcplb.config.wording import one_of
from tcplb.control.plan import PoolPlan, plan_pool

FORMATS = click.Choice(["text", "json"])

format_option = click.option(
    "--format",
    "output_format",
    type=FORMATS,
    default="text",
    show_default=True,
    help="How the result is written.",
)
pool_option = click.option("--pool", metavar="NAME", help="The pool that is meant.")
seed_option = click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="For strategies that draw at random: another seed, other draws.",
)


def check_name(name: str, names: Iterable[str], option: str) -> str:
    """Return `name` if it is one of `names`; raise a usage error with the nearest one if not."""
    known = list(names)
    if name not in known:
        raise click.BadParameter(one_of(known, name), param_hint=option)
    return name


def named_pool(config: Config, name: str) -> PoolPlan:
    """Return the plan of the pool called `name`; a usage error if there is none."""
    check_name(name, config.pools, "--pool")
    return plan_pool(name, config.pools[name])


def backend_names(plan: PoolPlan) -> list[str]:
    """Return the names of the backends, in the order of the config."""
    return [backend.name for backend in plan.backends]


def split_assignment(text: str, option: str) -> tuple[str, int]:
    """Return the parts of ``BACKEND=N``; a usage error if it is something else."""
    name, _, number = text.rpartition("=")
    if not name or not (number.isascii() and number.isdigit() and len(number) < 10):
        message = f'must be BACKEND=N with a whole number N of at least 0 (got "{text}")'
        raise click.BadParameter(message, param_hint=option)
    return name, int(number)


def echo_json(value: dict[str, Any]) -> None:
    """Print `value` as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
