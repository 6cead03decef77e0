"""`tcplb completion`: the script that lets a shell complete our commands and flags."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_SHELLS = {"bash": BashComplete, "fish": FishComplete, "zsh": ZshComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Add to the shell's start-up file:
      bash:  eval "$(tcplb completion bash)"
      zsh:   eval "$(tcplb completion zsh)"
      fish:  tcplb completion fish | source
    """  # noqa: D301 - click wants the character, not a backslash and a b
    click.echo(_SHELLS[shell](ctx.find_root().command, {}, "tcplb", "_TCPLB_COMPLETE").source())
