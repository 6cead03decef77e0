"""Demo and test servers: HTTP that names its port, an echo for the rest, faults on demand."""

from echo_backends.faults import Faults
from echo_backends.server import EchoServer

__all__ = ["EchoServer", "Faults"]
