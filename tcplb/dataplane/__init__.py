"""Moves bytes and decides nothing: accept, classify, acquire, connect, relay, release."""
