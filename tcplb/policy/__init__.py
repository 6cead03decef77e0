"""Pure decisions: no socket, no event loop, no clock, no global randomness, no logging."""
