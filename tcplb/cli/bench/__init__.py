"""`tcplb bench`: the command, what is asked of it, the runs, and what it prints."""

from tcplb.cli.bench.command import bench

__all__ = ["bench"]
