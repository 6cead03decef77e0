"""The settings of active checks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tcplb.config.check_fields import (
    BytesText,
    HttpMethod,
    HttpPath,
    HttpText,
    Pattern,
    Statuses,
)
from tcplb.config.fields import Port, PositiveDuration
from tcplb.config.table import Table


class CheckConfig(Table):
    """Active checks: every backend is asked, on connections of its own, whether it works."""

    type: Literal["tcp", "http", "send-expect"] = Field(
        default="tcp",
        description='"tcp" connects; "http" sends a request and looks at the answer; "send-expect" '
        "sends bytes, if any, and waits for bytes that match.",
    )
    interval: PositiveDuration = Field(default=2.0, description="From one check to the next.")
    fast_interval: PositiveDuration = Field(
        default=0.5,
        description="The same while the results so far may change what is thought of it; never "
        "more than the interval.",
    )
    timeout: PositiveDuration = Field(
        default=2.0, description="A check that takes longer has failed."
    )
    fall: int = Field(
        default=3, strict=True, ge=1, le=100, description="Failures in a row that make it down."
    )
    rise: int = Field(
        default=2, strict=True, ge=1, le=100, description="Passes in a row that make it up again."
    )
    port: Port = Field(
        default=0,
        description="The port that is checked; 0 for the one that connections go to.",
    )
    method: HttpMethod = Field(default="GET", description="http: the method of the request.")
    path: HttpPath = Field(default="/", description="http: the target of the request.")
    host: HttpText = Field(
        default="", description="http: the Host of the request; the backend's address, if empty."
    )
    status: Statuses = Field(
        default="200-399", description='http: the statuses that pass, such as "200-299,304".'
    )
    body: Pattern = Field(
        default="",
        description="http: a regular expression that the first 64 KiB of the body must match "
        "somewhere; any body passes, if empty.",
    )
    send: BytesText = Field(
        default="",
        description='send-expect: what is sent, such as "PING\\r\\n"; nothing, if empty.',
    )
    expect: Pattern = Field(
        default="",
        description="send-expect: a regular expression that the answer must match from its "
        'beginning, such as "\\\\+PONG"; any byte passes, if empty.',
    )
