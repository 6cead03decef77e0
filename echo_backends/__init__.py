"""Demo and test servers: HTTP that names its server, an echo for the rest, faults on demand."""

from echo_backends.faults import Faults
from echo_backends.server import EchoServer

__all__ = ["EchoServer", "Faults"]
