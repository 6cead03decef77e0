"""From an HTTP request to a `Call`: strictly, and with words for what is wrong."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, ValidationError

from tcplb.config.wording import quote
from tcplb.control.admin.answers import RefusedError, in_words
from tcplb.control.admin.connection import Connection
from tcplb.control.admin.table import Call, Query, Route

LARGEST_BODY = 64 * 1024  # bytes
_MOST_PARAMETERS = 20
_JSON = "application/json"
_BODY = web.RequestKey("body", bytes)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GZIP = re.compile(
    r"(?:^|,)\s*gzip\s*(?:;\s*q=(?:1(?:\.0*)?|0\.\d*[1-9]\d*)\s*)?(?:,|$)", re.IGNORECASE
)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that a request came on."""
    return cast("Connection", request.protocol)


def check_target(request: web.BaseRequest) -> None:
    """Refuse a target that is not a path, or that hides something in its escapes."""
    # aiohttp has decoded what is no ASCII, and kept what is no UTF-8 in surrogates.
    raw = request.raw_path.encode("utf-8", "surrogateescape")
    if not raw.startswith(b"/") or _BAD_ESCAPE.search(raw):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the target of the request is not a valid path")
    decoded = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), raw)
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the path is not UTF-8") from None
    if _CONTROL.search(text.partition("?")[0]):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the path has control characters in it")


def body_of(request: web.Request) -> bytes:
    """The body of a request, as far as it was read."""
    content: bytes = request.get(_BODY, b"")
    return content


def is_unread(request: web.Request) -> bool:
    """Whether the client has sent, or will, a body that nobody has read."""
    return request.body_exists and _BODY not in request


def takes_gzip(request: web.Request) -> bool:
    """Whether the answer may be compressed by gzip (RFC 9110, section 12.5.3)."""
    return bool(_GZIP.search(request.headers.get("Accept-Encoding", "")))


async def read_call(request: web.Request, route: Route) -> Call:
    """All that a client asks by a request, checked. Raises RefusedError."""
    query = _read_query(request, route.query)
    last_event = _read_last_event(request) if route.is_stream else None
    body = await _read_body(request, route.body) if route.changes else None
    return Call(request.match_info, query, body, last_event)


def _read_query(request: web.Request, model: type[Query]) -> Query:
    try:
        pairs = parse_qsl(
            request.rel_url.raw_query_string,
            keep_blank_values=True,
            strict_parsing=bool(request.rel_url.raw_query_string),
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the query is not valid: {error}") from None
    if len(dict(pairs)) < len(pairs):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the query has a parameter twice")
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, in_words(error)) from None


def _read_last_event(request: web.Request) -> int | None:
    given = request.headers.get("Last-Event-ID")
    if not given:
        return None
    if not re.fullmatch("[0-9]{1,15}", given):
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, f"Last-Event-ID must be a number (got {quote(given)})"
        )
    return int(given)


async def _read_body(request: web.Request, model: type[BaseModel] | None) -> BaseModel | None:
    # Also of a request without a body: a page of another site cannot send this type unasked.
    _check_type(request)
    content = await _read_bytes(request)
    if model is None:
        return None
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        is_json = error.errors()[0]["type"] != "json_invalid"
        status = HTTPStatus.UNPROCESSABLE_ENTITY if is_json else HTTPStatus.BAD_REQUEST
        raise RefusedError(status, in_words(error)) from None


def _check_type(request: web.Request) -> None:
    if request.content_type != _JSON or "Content-Encoding" in request.headers:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the Content-Type of a change must be {_JSON}, and not compressed",
        )


async def _read_bytes(request: web.Request) -> bytes:
    try:
        # Bounded by the application's `client_max_size`.
        content = await request.read()
    except web.RequestPayloadError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not valid HTTP") from None
    except ConnectionError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the client left within the body") from None
    connection_of(request).request_is_read()
    request[_BODY] = content
    return content
