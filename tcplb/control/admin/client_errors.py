"""What can go wrong when an admin port is asked, in words for the operator."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from tcplb import __version__
from tcplb.config.wording import printable
from tcplb.control.admin.client_address import AdminAddress
from tcplb.control.admin.models import Problem
from tcplb.errors import ConfigError, TcplbError
from tcplb.errors import Problem as ConfigProblem

Model = TypeVar("Model", bound=BaseModel)


class AdminError(TcplbError):
    """The balancer could not be asked, or did not do what it was asked."""


class UnreachableError(AdminError):
    """There is no connection to the admin port, or not any more."""


class RefusedError(AdminError):
    """The balancer has refused a request, with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Token:
    """What changes need, and where it is from; or else, where it was looked for."""

    value: str | None
    source: str


@contextmanager
def in_words(address: AdminAddress, timeout: float) -> Iterator[None]:
    """Turn what aiohttp raises within into an AdminError; `timeout` is the wait in seconds."""
    where = address.text
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        raise _no_connection(where, _reason(error)) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise _no_connection(where, f"no answer within {timeout:g} s") from error
    except TimeoutError as error:
        raise UnreachableError(f"{where} has said nothing for {timeout:g} s") from error
    except aiohttp.ServerDisconnectedError as error:
        raise UnreachableError(f"{where} has hung up without an answer{_hint(address)}") from error
    except aiohttp.ClientResponseError as error:
        raise UnreachableError(stranger(address)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(f"the connection to {where} was lost") from error
    except ValueError as error:
        raise UnreachableError(f"{where} sent what cannot be read: {error}") from error


def _no_connection(where: str, reason: str) -> UnreachableError:
    return UnreachableError(
        f"cannot connect to {where}: {reason}; is tcplb running with an admin port there? "
        "see [admin] bind, and --admin"
    )


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted ({cause.verify_message}; --ca, --insecure)"
    if isinstance(cause, ssl.SSLError):
        return "it does not speak TLS"
    if isinstance(cause, socket.gaierror) or not cause.errno:
        return printable(cause.strerror or str(cause))
    return os.strerror(cause.errno)  # asyncio has its own words in it, and not those


def stranger(address: AdminAddress) -> str:
    """Return that somebody else has answered."""
    return f"{address.text} does not answer like an admin port of tcplb{_hint(address)}"


def _hint(address: AdminAddress) -> str:
    return "" if address.tls or address.path else "; does it want https://?"


def refusal(status: int, kind: str, text: str, address: AdminAddress, token: Token) -> TcplbError:
    """Return the error for an answer of that status and content type.

    It is a ConfigError if the answer says what is wrong with a configuration.
    """
    problem = _problem(text) if kind == "application/problem+json" else None
    if problem is None:
        return RefusedError(status, f"{stranger(address)} (HTTP status {status})")
    if problem.problems:
        return ConfigError(
            [
                ConfigProblem(each.where, each.path, printable(each.message))
                for each in problem.problems
            ]
        )
    detail = printable(problem.detail)
    return RefusedError(status, _words(status, detail, address, token))


def _words(status: int, detail: str, address: AdminAddress, token: Token) -> str:
    where = address.text
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return _no_token(where, address, token)
        case HTTPStatus.FORBIDDEN:
            return f"{where} does not allow this: {detail}"
        case HTTPStatus.MISDIRECTED_REQUEST:
            return (
                f"{where} does not go by that name ({detail}): use the address that it is bound "
                "to, or add the name to [admin] hosts"
            )
        case HTTPStatus.INTERNAL_SERVER_ERROR:
            return f"the balancer has failed to answer, and its log says why ({detail})"
    return detail


def _no_token(where: str, address: AdminAddress, token: Token) -> str:
    if token.value is None:
        return f"{where} wants its token for this, and there is none: {token.source}"
    if not address.private:
        return f"{where} wants its token for this, which is not sent in the clear: use https://"
    return f"{where} has another token than that of {token.source}"


def read(model: type[Model], text: str) -> Model:
    """Return the answer in `text`. What a newer balancer says beyond it is left out.

    Raises AdminError if it is another thing.
    """
    try:
        value = json.loads(text)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for extra in error.errors():
                if extra["type"] == "extra_forbidden":
                    _take_out(value, extra["loc"])
            return model.model_validate(value)
    except ValueError as error:
        raise AdminError(
            f"the answer is none that tcplb {__version__} knows: is the balancer another version?"
        ) from error


def _take_out(value: Any, path: Sequence[str | int]) -> None:
    for step in path[:-1]:
        value = value[step]
    del value[path[-1]]


def _problem(text: str) -> Problem | None:
    try:
        return read(Problem, text)
    except AdminError:
        return None
