"""`python -m echo_backends`."""

from echo_backends.cli import main

main(prog_name="echo-backends")
