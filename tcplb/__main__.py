"""`python -m tcplb` is `tcplb`."""

from tcplb.cli.main import main

main(prog_name="tcplb")
