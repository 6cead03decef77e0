"""Opens the admin port when the balancer starts, or says why there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from socket import socket

from tcplb.config.admin import NO_ADMIN, AdminConfig
from tcplb.control.admin.control import Control
from tcplb.control.admin.listening import bound_to, open_admin_socket
from tcplb.control.admin.server import AdminServer
from tcplb.control.admin.token import TokenError, find_or_make_token, token_path
from tcplb.errors import BindError

log = logging.getLogger("tcplb.admin")


def open_port(config: AdminConfig) -> socket | None:
    """Return the listening socket of the admin port; None if there is to be none.

    If the usual address is taken, tcplb does without, and says so. Raises BindError if it is one
    that was asked for.
    """
    if config.bind == NO_ADMIN:
        return None
    try:
        return open_admin_socket(config.bind)
    except BindError as error:
        if "bind" in config.model_fields_set:
            raise
        log.warning("there is no admin port: %s; choose another with admin.bind", error)
        return None


async def serve_port(
    config: AdminConfig, sock: socket | None, control: Control, metrics: Callable[[], bytes]
) -> AdminServer | None:
    """Serve `control` on `sock`, if there is one.

    Raises TokenError if a token that was asked for cannot be used, and BindError if the TLS files
    cannot.
    """
    if sock is None:
        return None
    bind = bound_to(sock)
    try:
        token = find_or_make_token(config, bind, os.environ)
    except TokenError as error:
        if config.model_fields_set:
            raise
        log.warning("there is no admin port: %s", error)
        sock.close()
        return None
    server = AdminServer(control, config, token=token, metrics=metrics, sock=sock)
    await server.start()
    where = "" if config.token is not None else f", token in {token_path(config, bind, os.environ)}"
    log.info("admin port on %s%s", server.address, where)
    return server
