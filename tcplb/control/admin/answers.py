"""What goes wrong as an answer (RFC 9457), and the headers that every answer has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tcplb.config.wording import printable
from tcplb.control.admin.control import NotFoundError
from tcplb.control.admin.models import Problem, ProblemView
from tcplb.errors import BindError, ChangeError, ConfigError, TcplbError

log = logging.getLogger("tcplb.admin")

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Server": "tcplb",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": PAGE_POLICY,
}
_LONGEST_DETAIL = 1000
_LONGEST_PART = 200


class RefusedError(Exception):
    """A request that is not even tried, with the answer to it."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def add_headers(response: web.StreamResponse) -> None:
    """Give an answer the headers that each of them has."""
    response.headers.update(_HEADERS)


def json_answer(body: BaseModel, status: int = 200) -> web.Response:
    """A model as JSON."""
    return web.Response(text=body.model_dump_json(), status=status, content_type="application/json")


def text_answer(text: str, status: int = 200) -> web.Response:
    """A line for people and orchestrators."""
    return web.Response(text=text + "\n", status=status)


def problem_answer(
    status: HTTPStatus,
    detail: str,
    problems: tuple[ProblemView, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """What went wrong, for a client to show."""
    body = Problem(
        title=status.phrase,
        status=status,
        detail=_fit(detail, _LONGEST_DETAIL),
        problems=list(problems),
    )
    return web.Response(
        text=body.model_dump_json(),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


def answer_to(error: Exception, request: web.BaseRequest) -> web.Response:
    """The answer to a request that ended with `error`; one of ours is logged, and not told."""
    match error:
        case RefusedError():
            return problem_answer(error.status, error.detail, headers=error.headers)
        case NotFoundError():
            return problem_answer(HTTPStatus.NOT_FOUND, str(error))
        case ChangeError() | BindError():
            return problem_answer(HTTPStatus.CONFLICT, str(error))
        case ConfigError():
            views = tuple(
                ProblemView(where=each.where, path=each.path, message=each.message)
                for each in error.problems
            )
            return problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), views)
        case TcplbError():
            log.error("%s %s: %s", request.method, printable(request.path), error)
            return problem_answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        case _:
            log.error("%s %s failed", request.method, printable(request.path), exc_info=error)
            return problem_answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, "an error in tcplb; its log has more of it"
            )


def in_words(error: ValidationError) -> str:
    """What is wrong with the parameters or the body of a request, each with where."""
    return "; ".join(
        _fit(": ".join(filter(None, (_place(each), _reason(each)))), _LONGEST_PART)
        for each in error.errors(include_url=False, include_input=False)
    )


def _place(error: ErrorDetails) -> str:
    return ".".join(map(str, error["loc"]))


def _reason(error: ErrorDetails) -> str:
    """Return what is wrong; of our own checks only our own words."""
    return error["msg"].removeprefix("Value error, ")


def _fit(text: str, longest: int) -> str:
    lines = [printable(line) for line in text[: longest + 1].split("\n")]
    fitting = "\n".join(lines)
    return fitting if len(text) <= longest else f"{fitting[:longest]}..."
