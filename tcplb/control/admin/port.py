"""Opens the admin port when the balancer starts, or says why there is none."""

from __future__ import annotations

import logging
import os
from socket import socket
from typing import Self

from tcplb.config.admin import NO_ADMIN, AdminConfig
from tcplb.control.admin.balancer import Balancer
from tcplb.control.admin.listening import bound_to, open_admin_socket
from tcplb.control.admin.server import AdminServer
from tcplb.control.admin.token import TokenError, find_or_make_token, token_path
from tcplb.control.metrics import Metrics
from tcplb.control.operator import Operator
from tcplb.control.serving import Serving
from tcplb.errors import BindError

log = logging.getLogger("tcplb.admin")


def open_port(config: AdminConfig, given: int | None = None) -> socket | None:
    """Return the listening socket of the admin port; None if there is to be none.

    The process before this one may have `given` its own, which is used if it is bound as wanted.
    If the usual address is taken, tcplb does without, and says so. Raises BindError if it is one
    that was asked for.
    """
    if config.bind == NO_ADMIN:
        return None
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


def _is_bound_as_wanted(sock: socket, config: AdminConfig) -> bool:
    bound = bound_to(sock)
    host, _, port = config.bind.rpartition(":")
    return bound == config.bind or (port == "0" and bound.startswith(f"{host}:"))


class AdminPort:
    """The admin port from when the balancer serves until it has drained; or none, if none can be.

    Entering it raises TokenError if a token that was asked for cannot be used, and BindError if the
    TLS files cannot.
    """

    def __init__(
        self, config: AdminConfig, sock: socket | None, serving: Serving, operator: Operator
    ) -> None:
        """Prepare to serve on `sock`, if there is one; it stays the caller's."""
        self._config = config
        self._sock = sock
        self._balancer = Balancer(serving, operator)
        self._metrics = Metrics(serving, operator)
        self._server: AdminServer | None = None

    async def __aenter__(self) -> Self:
        """Serve."""
        if self._sock is None:
            return self
        config, bind = self._config, bound_to(self._sock)
        try:
            token = find_or_make_token(config, bind, os.environ)
        except TokenError as error:
            if config.model_fields_set:
                raise
            log.warning("there is no admin port: %s", error)
            return self
        copy = self._sock.dup()
        self._server = AdminServer(
            self._balancer, config, token=token, metrics=self._metrics.text, sock=copy
        )
        await self._server.start()
        path = token_path(config, bind, os.environ)
        where = "" if config.token is not None else f", token in {path}"
        log.info("admin port on %s%s", self._server.address, where)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        if self._server is not None:
            await self._server.close()

    def say_draining(self) -> None:
        """Let /readyz say no from now on."""
        self._balancer.views.state = "draining"

    async def hand_over(self) -> None:
        """Leave the port to another process, which has it already."""
        if self._server is not None:
            await self._server.close(handed_over=True)
            self._server = None
