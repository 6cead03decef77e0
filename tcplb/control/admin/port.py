"""Opens the admin port when the balancer starts, or says why there is none.

What it is made of is imported only if there is to be one: it takes 0.3 s and 15 MB.
"""

from __future__ import annotations

import logging
import os
from socket import socket
from typing import TYPE_CHECKING, Self

from tcplb.config.admin import NO_ADMIN, AdminConfig
from tcplb.control.admin.token import TokenError, find_or_make_token, token_path
from tcplb.control.operator import Operator
from tcplb.control.serving import Serving
from tcplb.errors import BindError

if TYPE_CHECKING:
    from tcplb.control.admin.balancer import Balancer
    from tcplb.control.admin.server import AdminServer

log = logging.getLogger("tcplb.admin")


def open_port(config: AdminConfig, given: int | None = None) -> socket | None:
    """Return the listening socket of the admin port; None if there is to be none.

    The process before this one may have `given` its own, which is used if it is bound as wanted.
    If the usual address is taken, tcplb does without, and says so. Raises BindError if it is one
    that was asked for.
    """
    if config.bind == NO_ADMIN:
        return None
    from tcplb.control.admin.listening import open_admin_socket  # noqa: PLC0415 - see above

    if given is not None:
        sock = socket(fileno=given)
        sock.set_inheritable(False)
        if _is_bound_as_wanted(sock, config):
            sock.setblocking(False)
            return sock
        sock.close()
    try:
        return open_admin_socket(config.bind)
    except BindError as error:
        if "bind" in config.model_fields_set:
            raise
        log.warning("there is no admin port: %s; choose another with admin.bind", error)
        return None


def find_token(config: AdminConfig, sock: socket | None) -> str | None:
    """Return what changes need at the port that `sock` is; None if there is to be no port.

    If the usual place cannot be used, tcplb does without the port, and says so. Raises TokenError
    if a token that was asked for cannot be used, and BindError if the TLS files cannot.
    """
    if sock is None:
        return None
    from tcplb.control.admin.listening import bound_to, tls_context  # noqa: PLC0415 - see above

    tls_context(config)
    try:
        return find_or_make_token(config, bound_to(sock), os.environ)
    except TokenError as error:
        if config.model_fields_set:
            raise
        log.warning("there is no admin port: %s", error)
        return None


def _is_bound_as_wanted(sock: socket, config: AdminConfig) -> bool:
    from tcplb.control.admin.listening import bound_to  # noqa: PLC0415 - see above

    bound = bound_to(sock)
    host, _, port = config.bind.rpartition(":")
    return bound == config.bind or (port == "0" and bound.startswith(f"{host}:"))


class AdminPort:
    """The admin port from when the balancer serves until it has drained, or none."""

    def __init__(
        self,
        config: AdminConfig,
        sock: socket | None,
        token: str | None,
        serving: Serving,
        operator: Operator,
    ) -> None:
        """Prepare to serve on `sock`, if there is one and a token; it is closed with the port."""
        self._config = config
        self._sock = sock
        self._token = token
        self._serving = serving
        self._operator = operator
        self._balancer: Balancer | None = None
        self._server: AdminServer | None = None

    async def __aenter__(self) -> Self:
        """Serve."""
        if self._sock is None or self._token is None:
            return self
        from tcplb.control.admin.balancer import Balancer  # noqa: PLC0415 - see above
        from tcplb.control.admin.listening import bound_to  # noqa: PLC0415
        from tcplb.control.admin.server import AdminServer  # noqa: PLC0415
        from tcplb.control.metrics import Metrics  # noqa: PLC0415

        config, bind = self._config, bound_to(self._sock)
        copy = self._sock.dup()
        self._balancer = Balancer(self._serving, self._operator)
        metrics = Metrics(self._serving, self._operator)
        self._server = AdminServer(
            self._balancer, config, token=self._token, metrics=metrics.text, sock=copy
        )
        await self._server.start()
        path = token_path(config, bind, os.environ)
        where = "" if config.token is not None else f", token in {path}"
        log.info("admin port on %s%s", self._server.address, where)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._close(handed_over=False)

    def say_draining(self) -> None:
        """Let /readyz say no from now on."""
        if self._balancer is not None:
            self._balancer.views.state = "draining"

    async def hand_over(self) -> None:
        """Leave the port to another process, which has it already."""
        await self._close(handed_over=True)

    async def _close(self, *, handed_over: bool) -> None:
        if self._sock is not None:
            self._sock.close()  # first: a Unix socket that anybody has open is not removed
        if self._server is not None:
            await self._server.close(handed_over=handed_over)
            self._server = None
