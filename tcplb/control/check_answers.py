"""What a backend's answer to a check is worth: bytes in, a result out. No sockets and no clock.

An answer is fed what comes until it returns a result, or until the backend ends the connection or
the time is over; it then says what is to be thought of that. It keeps at most `MAX_ANSWER` bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import httptools

from tcplb import __version__
from tcplb.config.models import CheckConfig
from tcplb.config.units import format_address
from tcplb.policy.checks import Statuses

MAX_ANSWER = 64 * 1024
"""Bytes of an answer (for HTTP: of its head, and of its body) that are looked at."""

_SHOWN = 40
_WITH_CONTENT = ("POST", "PUT", "PATCH")
_SWITCHING_PROTOCOLS = 101


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check ended, in words for a log line."""

    passed: bool
    reason: str


class Answer(Protocol):
    """Judges the bytes that a backend sends."""

    def feed(self, data: bytes) -> CheckResult | None:
        """Take what came; return the result as soon as there is one."""

    def ended(self) -> CheckResult:
        """Return what it means that no more comes."""

    def overdue(self, seconds: float) -> CheckResult:
        """Return what it means that there was no result in the `seconds` of a check."""


class ExpectedAnswer:
    """An answer that is to match a pattern from its beginning."""

    def __init__(self, expect: str) -> None:
        self._expect = re.compile(expect.encode("latin-1"))
        self._data = bytearray()

    def feed(self, data: bytes) -> CheckResult | None:
        """Pass once all that has come so far matches; a byte there must be in any case."""
        self._data += data[: MAX_ANSWER - len(self._data)]
        if self._expect.match(self._data):
            return CheckResult(True, "the answer matches")
        return self._mismatch() if len(self._data) == MAX_ANSWER else None

    def ended(self) -> CheckResult:
        """Fail, and show what came instead, if anything did."""
        return self._mismatch() if self._data else CheckResult(False, "closed before it answered")

    def overdue(self, seconds: float) -> CheckResult:
        """Fail, and show what came instead, if anything did."""
        return self._mismatch(f" in {seconds:g} s") if self._data else no_answer(seconds)

    def _mismatch(self, when: str = "") -> CheckResult:
        shown = repr(bytes(self._data[:_SHOWN])) + ("..." if len(self._data) > _SHOWN else "")
        return CheckResult(False, f"the answer does not match{when}: {shown}")


class HttpAnswer:
    """An HTTP/1 answer that is to have one of some statuses and, if wanted, a body that matches.

    The body is judged when it is complete, or 64 KiB of it are there: so the result does not hang
    on the pieces in which it comes.
    """

    def __init__(self, check: CheckConfig) -> None:
        self._statuses = Statuses.parse(check.status)
        self._pattern = re.compile(check.body.encode("latin-1")) if check.body else None
        self._bodiless = check.method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        # A check is no judge of line ends: what clients get along with is good enough.
        self._parser.set_dangerous_leniencies(
            lenient_data_after_close=True, lenient_optional_cr_before_lf=True
        )
        self._fed = 0
        self._status = 0
        self._has_length = False
        self._body = bytearray()
        self._complete = False

    def feed(self, data: bytes) -> CheckResult | None:
        """Take what came; return the result as soon as there is one."""
        broken = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # what follows is no HTTP, but the answer was
        except httptools.HttpParserError:
            broken = True
        self._fed += len(data)
        result = self._judge()
        if result is None and broken:
            return CheckResult(False, "not HTTP")
        return result

    def ended(self) -> CheckResult:
        """Return what it means that no more comes: a body without a length ends so."""
        if self._status and not self._has_length:
            return self._judge_body()
        if self._status:
            return CheckResult(False, "closed in the middle of the body")
        if self._fed:
            return CheckResult(False, "closed in the middle of the head")
        return CheckResult(False, "closed before it answered")

    def overdue(self, seconds: float) -> CheckResult:
        """Fail, and say how far it got."""
        if not self._fed:
            return no_answer(seconds)
        part = "body" if self._status else "head"
        return CheckResult(False, f"timed out after {seconds:g} s in the middle of the {part}")

    def _judge(self) -> CheckResult | None:
        if not self._status:
            too_long = self._fed >= MAX_ANSWER
            return CheckResult(False, "the head is longer than 64 KiB") if too_long else None
        if self._status not in self._statuses:
            return CheckResult(False, f"status {self._status}")
        enough = self._complete or self._bodiless or len(self._body) >= MAX_ANSWER
        return self._judge_body() if enough or self._pattern is None else None

    def _judge_body(self) -> CheckResult:
        if self._pattern is None:
            return CheckResult(True, f"status {self._status}")
        if self._pattern.search(self._body):
            return CheckResult(True, f"status {self._status}, and the body matches")
        return CheckResult(False, "the body does not match")

    # -- what the parser calls ----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note whether the answer itself says where it ends (RFC 9112 §6.3)."""
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Take the first status that is final: after a 1xx another one comes, except for 101."""
        status = self._parser.get_status_code()
        if status >= 200 or status == _SWITCHING_PROTOCOLS:
            self._status = self._status or status
        else:
            self._has_length = False

    def on_body(self, data: bytes) -> None:
        """Keep the beginning of the body."""
        if not self._complete and not self._bodiless:
            self._body += data[: MAX_ANSWER - len(self._body)]

    def on_message_complete(self) -> None:
        """Note that there is no more of it to come."""
        self._complete = self._status != 0


def no_answer(seconds: float) -> CheckResult:
    """Return the result of a check that was connected and heard nothing."""
    return CheckResult(False, f"no answer in {seconds:g} s")


def answer_of(check: CheckConfig) -> Answer | None:
    """Return the judge of a check's answer; None if none is waited for."""
    match check.type:
        case "http":
            return HttpAnswer(check)
        case "send-expect":
            return ExpectedAnswer(check.expect)
        case _:
            return None


def question_of(check: CheckConfig, host: str, port: int) -> bytes:
    """Return what a check sends to `host` and `port`: nothing, for some."""
    match check.type:
        case "http":
            return _request(check, host, port)
        case "send-expect":
            return check.send.encode("latin-1")
        case _:
            return b""


def _request(check: CheckConfig, host: str, port: int) -> bytes:
    # The zone of a link-local address ("fe80::1%eth0") means something on this machine only.
    fields = [
        f"{check.method} {check.path} HTTP/1.1",
        f"Host: {check.host or format_address(host.partition('%')[0], port)}",
        f"User-Agent: tcplb/{__version__}",
        "Accept: */*",
        "Connection: close",
    ]
    if check.method in _WITH_CONTENT:
        fields.append("Content-Length: 0")
    return "\r\n".join([*fields, "", ""]).encode("ascii")
