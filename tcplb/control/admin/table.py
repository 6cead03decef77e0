"""How a route of the API is described: once, for the server and for its OpenAPI document."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from tcplb.control.admin.control import Control

API = "/api/v1"
LONGEST_TEXT = 300

_OF_ANY = (400, 401, 403, 421, 429, 500)
"""The errors that any request may be answered; 401 and 429 are about the token."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]


def _check_network(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be an IP address or a network, as in 10.0.0.0/8") from None
    return text


Network = Annotated[Text, AfterValidator(_check_network)]


class Query(BaseModel):
    """The parameters of a query, which come as text. This one has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asks, checked: `query` and `body` are of the models of the route."""

    path: Mapping[str, str]
    query: Any
    body: Any
    last_event: int | None = None
    """The number that a client of a stream has read last, from Last-Event-ID."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    data: str
    """JSON, in one line."""
    number: int | None = None
    """What the client names as Last-Event-ID if it comes back."""


Run = Callable[[Control, Call], BaseModel | Awaitable[BaseModel]]
Messages = AsyncGenerator[list[Message], None]
"""What a stream sends, in as many pieces as there is something new; none of them is empty."""
Open = Callable[[Control, Call], AbstractContextManager[Messages]]


@dataclass(frozen=True, slots=True)
class Stream:
    """What opens a stream of messages."""

    open: Open


@dataclass(frozen=True, slots=True)
class Route:
    """A request that is answered by JSON, or by a stream of it."""

    name: str
    """Of the operation, for those who make clients of the document."""
    method: str
    path: str
    """Below `API`, with names in braces."""
    summary: str
    answer: type[BaseModel]
    """Of a stream, what each message is."""
    run: Run | Stream
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    status: int = 200
    errors: tuple[int, ...] = ()
    """Those besides what follows from the rest."""

    @property
    def is_stream(self) -> bool:
        """Whether it is answered by a stream."""
        return isinstance(self.run, Stream)

    @property
    def changes(self) -> bool:
        """Whether it changes the balancer, and so needs the token."""
        return self.method not in ("GET", "HEAD")

    @property
    def all_errors(self) -> tuple[int, ...]:
        """The statuses that it may be answered with, other than `status`."""
        found = {*_OF_ANY, *self.errors}
        if "{" in self.path:
            found.add(404)
        if self.changes:
            # A body that is not needed is read as well.
            found |= {409, 413, 415, 422}
        if self.is_stream:
            found.add(503)
        return tuple(sorted(found))
