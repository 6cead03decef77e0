"""`tcplb serve`: run the balancer."""

from __future__ import annotations

import click

from tcplb.cli.exits import Exit
from tcplb.cli.settings import SettingsCommand, overrides_of, settings_options
from tcplb.config.settings import load
from tcplb.control.configuration import Source
from tcplb.control.supervisor import serve as run_supervisor


@click.command(cls=SettingsCommand)
@settings_options
@click.pass_context
def serve(ctx: click.Context, /, **_: object) -> None:
    """Accept TCP connections and spread them over the backends.

    Every flag is also an environment variable: --idle-timeout is TCPLB_IDLE_TIMEOUT. A flag
    overrides the environment, which overrides the file, which overrides the default; `tcplb config
    show` prints the result. Durations read like 250ms, 5s or 1h.

    \b
    Signals: TERM and INT (^C) let open connections end, a second one closes them;
    HUP reloads the settings file, USR2 upgrades in place, USR1 reopens the access log;
    TTIN adds a worker, TTOU takes one away.

    \b
    Examples:
      tcplb serve --strategy hash
      tcplb serve --listen :6379 --backend 10.0.0.1:6379 --backend 10.0.0.2:6379,weight=3
      tcplb serve --config tcplb.toml --log-format json --access-log /var/log/tcplb.log
    """  # noqa: D301 - click wants the character, not a backslash and a b
    overrides = overrides_of(ctx)
    source = Source(ctx.params["config_file"], lambda file: load(file, overrides))
    cut = run_supervisor(source)
    ctx.exit(Exit.DRAIN_TIMED_OUT if cut else Exit.OK)
