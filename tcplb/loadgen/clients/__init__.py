"""What clients do: a life for each mode, which they live again and again, each on a connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tcplb.loadgen.client import Client, Script
from tcplb.loadgen.clients.churn import Churn
from tcplb.loadgen.clients.connect import connect_once, connect_only
from tcplb.loadgen.clients.exchanges import Exchange, exchanges
from tcplb.loadgen.clients.idle import idle
from tcplb.loadgen.clients.request import request
from tcplb.loadgen.echo import Echo
from tcplb.loadgen.http import Http, Post
from tcplb.loadgen.job import Job, Mode
from tcplb.loadgen.loop import Loop
from tcplb.loadgen.payloads import Payloads

LARGE = 256 * 1024
"""Bytes of a large exchange in `churn`."""

Life = Callable[[Client], Script]


def life_of(loop: Loop) -> Life:
    """Return what the clients of a loop do. Raises ValueError for `request` over raw TCP."""
    if loop.job.target.http:
        return _over_http(loop, loop.job)
    return _over_tcp(loop, loop.job)


def _over_http(loop: Loop, job: Job) -> Life:
    http = Http(job, loop.tally)
    loop.folds.append(http.fold)
    if job.mode is Mode.REQUEST and job.rate is None:
        return partial(request, http=http)
    if job.mode is Mode.REQUEST:
        return partial(exchanges, exchange=http.exchange)
    if job.mode is Mode.ECHO:
        return partial(exchanges, exchange=Post(http, _payloads(job), check=True).exchange)
    if job.mode is Mode.BULK:
        body = Post(http, _payloads(job), check=False)
        return partial(exchanges, exchange=body.exchange if job.payload else http.exchange)
    large = Post(http, _payloads(job, LARGE), check=False)
    return _over_either(job, http.exchange, large.exchange)


def _over_tcp(loop: Loop, job: Job) -> Life:
    echo = Echo(_payloads(job), loop.tally)
    if job.mode in (Mode.ECHO, Mode.BULK):
        return partial(exchanges, exchange=echo.exchange)
    return _over_either(job, echo.exchange, Echo(_payloads(job, LARGE), loop.tally).exchange)


def _over_either(job: Job, exchange: Exchange, large: Exchange) -> Life:
    match job.mode:
        case Mode.CONNECT:
            return partial(connect_once, exchange=exchange)
        case Mode.CONNECT_ONLY:
            return connect_only
        case Mode.IDLE:
            return partial(idle, exchange=exchange)
        case Mode.CHURN:
            return Churn(exchange, large, _seed(job)).live
        case _:
            raise ValueError(f"{job.mode} is not for {job.target.text}")


def _payloads(job: Job, size: int | None = None) -> Payloads:
    return Payloads(job.payload if size is None else size, _seed(job))


def _seed(job: Job) -> int:
    return job.seed * job.shares + job.share
