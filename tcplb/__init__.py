"""tcplb: a Layer-4 TCP load balancer you can read, script and debug."""

__version__ = "0.1.0"
