"""Replays an access log through a strategy, with virtual time and without a socket."""
