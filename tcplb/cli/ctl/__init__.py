"""`tcplb ctl`: the operator's commands for a balancer that is running."""

from tcplb.cli.ctl.group import ctl

__all__ = ["ctl"]
