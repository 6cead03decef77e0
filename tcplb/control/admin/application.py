"""The web application: each request is checked, answered by its route, and its errors told."""

from __future__ import annotations

import gzip
import inspect
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from tcplb.control.admin.answers import (
    RefusedError,
    add_headers,
    answer_to,
    json_answer,
    problem_answer,
    text_answer,
)
from tcplb.control.admin.audit import Audit
from tcplb.control.admin.control import Control
from tcplb.control.admin.event_stream import EventStreams
from tcplb.control.admin.openapi import openapi_json
from tcplb.control.admin.pace import Pace
from tcplb.control.admin.page import INDEX, File
from tcplb.control.admin.requests import (
    LARGEST_BODY,
    body_of,
    check_target,
    connection_of,
    is_unread,
    read_call,
    takes_gzip,
)
from tcplb.control.admin.routes import ROUTES
from tcplb.control.admin.security import Security
from tcplb.control.admin.table import API, Call, Route, Run, Stream

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

_WORDS = {
    HTTPStatus.NOT_FOUND: "there is nothing under this path",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body is larger than {LARGEST_BODY} bytes",
}
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Site:
    """What there is to ask for."""

    def __init__(
        self,
        control: Control,
        *,
        security: Security,
        audit: Audit,
        streams: EventStreams,
        files: dict[str, File],
        metrics: Callable[[], bytes] | None,
    ) -> None:
        """Without `metrics`, /metrics is not there."""
        self._control = control
        self._security = security
        self._audit = audit
        self._streams = streams
        self._files = files
        self._metrics = metrics
        self._openapi = openapi_json()
        self._looking = Pace()
        self._asking = Pace()

    def application(self) -> web.Application:
        """Return all of it as one application."""

        @web.middleware
        async def around(request: web.Request, handler: Answer) -> web.StreamResponse:
            return await self._answer(request, handler)

        application = web.Application(middlewares=[around], client_max_size=LARGEST_BODY)
        for route in ROUTES:
            _add(application, route.method, API + route.path, self._route(route))
        _add(application, "GET", f"{API}/openapi.json", self._show_openapi)
        _add(application, "GET", "/healthz", self._show_health)
        _add(application, "GET", "/readyz", self._show_readiness)
        _add(application, "GET", "/metrics", self._show_metrics)
        _add(application, "GET", "/", self._show_file)
        _add(application, "GET", "/static/{name:.+}", self._show_file)
        return application

    async def _answer(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        """Answer a request, whatever becomes of it; this is around all that the routes do."""
        connection = connection_of(request)
        if not request.body_exists:
            connection.request_is_read()
        why = ""
        response: web.StreamResponse
        try:
            self._check(request)
            response = await answer(request)
        except web.HTTPException as error:
            response = _answer_of_aiohttp(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            response, why = answer_to(error, request), str(error)
        if _is_change(request):
            self._audit.note(request, response.status, body_of(request), why)
        add_headers(response)
        if is_unread(request):
            response.force_close()
        await _send(request, response)
        connection.request_is_answered()
        return response

    def _check(self, request: web.Request) -> None:
        check_target(request)
        self._security.check_sender(request)
        self._security.check_reader(request)
        error = request.match_info.http_exception
        if error is not None:
            raise error
        if _is_change(request):
            self._security.check_operator(request)

    def _route(self, route: Route) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            call = await read_call(request, route)
            try:
                return await self._run(request, route, call)
            except ValidationError:
                raise  # no fault of the client's: an answer is not as its model says
            except ValueError as error:
                raise RefusedError(_status_of_bad_value(route), str(error)) from error

        return answer

    async def _run(self, request: web.Request, route: Route, call: Call) -> web.StreamResponse:
        if isinstance(route.run, Stream):
            return await self._streams.answer(request, self._control, call, route.run.open)
        if route.changes:
            return await self._answer_of(route, route.run, call)
        # Who asks the workers waits for them, and nobody else has to.
        pace = self._asking if inspect.iscoroutinefunction(route.run) else self._looking
        async with pace.turn(connection_of(request).gone):
            return await self._answer_of(route, route.run, call)

    async def _answer_of(self, route: Route, run: Run, call: Call) -> web.StreamResponse:
        body = run(self._control, call)
        return json_answer(await body if inspect.isawaitable(body) else body, route.status)

    async def _show_openapi(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=self._openapi, content_type="application/json")

    async def _show_health(self, _: web.Request) -> web.StreamResponse:
        return text_answer("ok")

    async def _show_readiness(self, _: web.Request) -> web.StreamResponse:
        reason = self._control.why_not_ready()
        if reason:
            return text_answer(reason, HTTPStatus.SERVICE_UNAVAILABLE)
        return text_answer("ready")

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        if self._metrics is None:
            return problem_answer(HTTPStatus.NOT_FOUND, "there are no metrics")
        headers = {"Content-Type": _METRICS_TYPE, "Vary": "Accept-Encoding"}
        async with self._looking.turn(connection_of(request).gone):
            text = self._metrics()
            if takes_gzip(request):
                # The same few words thousands of times: the quickest level makes a twentieth of it.
                headers["Content-Encoding"] = "gzip"
                text = gzip.compress(text, compresslevel=1)
        return web.Response(body=text, headers=headers)

    async def _show_file(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.match_info.get("name", INDEX))
        if file is None:
            return problem_answer(HTTPStatus.NOT_FOUND, "there is no such file")
        return web.Response(body=file.content, headers={"Content-Type": file.content_type})


def _status_of_bad_value(route: Route) -> HTTPStatus:
    return HTTPStatus.UNPROCESSABLE_ENTITY if route.changes else HTTPStatus.BAD_REQUEST


def _add(application: web.Application, method: str, path: str, answer: Answer) -> None:
    if method == "GET":
        application.router.add_get(path, answer)  # which answers HEAD too
    else:
        application.router.add_route(method, path, answer)


def _is_change(request: web.Request) -> bool:
    return request.method not in ("GET", "HEAD") and request.match_info.http_exception is None


def _answer_of_aiohttp(error: web.HTTPException) -> web.Response:
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem_answer(
            status, f"only {allowed} can be done here", headers={"Allow": allowed}
        )
    words = _WORDS.get(status, status.phrase.lower())
    return problem_answer(status, words)


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has left; there is nobody to tell
