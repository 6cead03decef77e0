"""Who may ask what of the admin port.

A browser on this machine reaches the port too, and any page in it may send requests there. So the
``Host`` has to be a name of this server, or a name that somebody else controls could be made to
mean 127.0.0.1 (DNS rebinding); a request that a page of another site has made is refused; and what
changes anything needs a token, which no page can know and no browser adds by itself.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web

from tcplb.config.wording import quote
from tcplb.control.admin.answers import RefusedError
from tcplb.control.admin.token import is_same

FAILURES_A_SECOND = 10

_READING = ("GET", "HEAD")
_FOR_ORCHESTRATORS = ("/healthz", "/readyz")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"https?://(?P<authority>[^/?#@\\]+)")


class KnownHosts:
    """The names by which a client may ask for this server: the values that ``Host`` may have."""

    def __init__(
        self, own: Iterable[str], port: int, *, more: Iterable[str], any_address: bool
    ) -> None:
        """`own` are host names and addresses of it at `port`, IPv6 addresses in brackets.

        Those of `more` without a port are accepted with any. With `any_address`, every IP address
        is one of its own: nobody can make those mean another machine.
        """
        self._own = set(own)
        self._port = port
        self._more = set(more)
        self._any_address = any_address

    def __contains__(self, authority: str) -> bool:
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        if authority in self._more or match["host"] in self._more:
            return True
        return self._is_own_port(match["port"]) and self._is_own(match["host"])

    def _is_own(self, host: str) -> bool:
        return host in self._own or (self._any_address and _is_address(host))

    def _is_own_port(self, port: str | None) -> bool:
        # Browsers leave the port out if it is the usual one.
        return self._port in (80, 443) if port is None else int(port) == self._port


class Failures:
    """How many wrong tokens there were within this second, of all clients together."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives seconds."""
        self._now = now
        self._second = 0
        self._count = 0

    def add(self) -> int:
        """Count one more, and return how many that makes."""
        second = int(self._now())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count


class Security:
    """Says which requests are refused."""

    def __init__(
        self,
        *,
        token: str,
        hosts: KnownHosts | None,
        reading_is_free: bool,
        now: Callable[[], float],
    ) -> None:
        """Without `hosts`, any is right: that is for Unix sockets, which no browser reaches."""
        self._token = token
        self._hosts = hosts
        self._reading_is_free = reading_is_free
        self._failures = Failures(now)

    def check_sender(self, request: web.BaseRequest) -> None:
        """Refuse what a page of another site may have sent, or sent to another name."""
        host = self._check_host(request)
        _check_origin(request, host)
        _check_site(request)

    def check_reader(self, request: web.BaseRequest) -> None:
        """Refuse who may not even look."""
        if self._reading_is_free or request.path in _FOR_ORCHESTRATORS:
            return
        # A browser asks its user for a password, and sends it with whatever the page loads.
        given = [_bearer(request), _password(request)]
        self._check_token(given, 'Bearer, Basic realm="tcplb", charset="UTF-8"')

    def check_operator(self, request: web.BaseRequest) -> None:
        """Refuse who may not change anything."""
        self._check_token([_bearer(request)], "Bearer")

    def _check_host(self, request: web.BaseRequest) -> str:
        given = request.headers.getall("Host", [])
        if len(given) != 1:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the request needs one Host header")
        host = given[0].lower()
        if self._hosts is not None and host not in self._hosts:
            raise RefusedError(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server is not called {quote(host)}; if it is, add that to admin.hosts",
            )
        return host

    def _check_token(self, given: Iterable[str | None], challenge: str) -> None:
        words = [each for each in given if each is not None]
        # All of them are compared, whichever is right.
        if any([is_same(each, self._token) for each in words]):  # noqa: C419
            return
        if self._failures.add() > FAILURES_A_SECOND:
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many requests without the right token",
                {"Retry-After": "1"},
            )
        detail = "this is not the token" if words else "this needs the token"
        raise RefusedError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})


def _check_origin(request: web.BaseRequest, host: str) -> None:
    for origin in request.headers.getall("Origin", []):
        match = _ORIGIN.fullmatch(origin.lower())
        if match is None or match["authority"] != host:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"pages of {quote(origin)} may not ask this")


def _check_site(request: web.BaseRequest) -> None:
    """Go by what browsers say of a request; see Fetch Metadata, w3.org/TR/fetch-metadata."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") and not _is_followed_link(request):
        raise RefusedError(HTTPStatus.FORBIDDEN, "pages of other sites may not ask this")


def _is_followed_link(request: web.BaseRequest) -> bool:
    # The page that has the link learns nothing by that, and framing is forbidden.
    return (
        request.method in _READING
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )


def _bearer(request: web.BaseRequest) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _password(request: web.BaseRequest) -> str | None:
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user_and_password = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return user_and_password.partition(":")[2]


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
