"""Which sockets belong to which listener, over reloads: by what it is bound to, not by its name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from socket import socket

from tcplb.config.models import ListenerConfig
from tcplb.control.given_sockets import GivenSockets
from tcplb.control.sockets import open_listening_sockets

_Bound = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """What becomes of the addresses when other listeners are served."""

    addresses: Mapping[_Bound, tuple[int, ...]]
    new: tuple[tuple[int, socket], ...]
    """Sockets that were opened for it: the first of each new address."""
    more: tuple[tuple[int, socket], ...]
    """Further ones for the same, that were given to us."""
    gone: frozenset[int]

    def of(self, listener: ListenerConfig) -> tuple[int, ...]:
        """Return the addresses of a listener."""
        return self.addresses[_bound(listener)]

    def close(self) -> None:
        """Close the new sockets: it has come to nothing."""
        for _, sock in (*self.new, *self.more):
            sock.close()


class Addresses:
    """The numbers of the addresses that are listened on."""

    def __init__(self) -> None:
        self._numbers: Mapping[_Bound, tuple[int, ...]] = {}
        self._next = 0

    def open(
        self, listeners: Iterable[ListenerConfig], given: GivenSockets | None = None
    ) -> Opened:
        """Open what `listeners` need and is not open, or take it from what was `given`.

        Raises BindError; then nothing stays open that was not. Nothing has changed until
        `take_over`.
        """
        wanted = {_bound(listener): listener for listener in listeners}
        leaving = set(self._numbers) - set(wanted)
        numbers = {bound: self._numbers[bound] for bound in wanted if bound in self._numbers}
        new: list[tuple[int, socket]] = []
        more: list[tuple[int, socket]] = []
        with contextlib.ExitStack() as opened:
            for bound, listener in wanted.items():
                if bound in numbers:
                    continue
                # Another address with the port of one that is about to be closed.
                share = any(bound[1] == port for _, port, _ in leaving)
                sockets = _given(listener, given) or _first(
                    open_listening_sockets(listener.bind, *bound[:2], share=share)
                )
                numbers[bound] = tuple(self._new_number() for _ in sockets)
                for number, each in zip(numbers[bound], sockets, strict=True):
                    for sock in each:
                        opened.enter_context(sock)
                    new.append((number, each[0]))
                    more += [(number, sock) for sock in each[1:]]
            opened.pop_all()
        kept = {number for each in numbers.values() for number in each}
        gone = frozenset(n for each in self._numbers.values() for n in each if n not in kept)
        return Opened(numbers, tuple(new), tuple(more), gone)

    def take_over(self, opened: Opened) -> None:
        """Let these be the addresses from now on."""
        self._numbers = opened.addresses

    def of(self, listener: ListenerConfig) -> tuple[int, ...]:
        """Return the addresses of a listener."""
        return self._numbers[_bound(listener)]

    def _new_number(self) -> int:
        self._next += 1
        return self._next


def _bound(listener: ListenerConfig) -> _Bound:
    # Two listeners on any free port are not on the same one.
    return listener.host, listener.port, "" if listener.port else listener.name


def _first(sockets: list[socket]) -> list[list[socket]]:
    return [[sock] for sock in sockets]


def _given(listener: ListenerConfig, given: GivenSockets | None) -> list[list[socket]]:
    """Return the sockets for each address of a listener that were given to us, if any were."""
    if given is None:
        return []
    by_address: dict[object, list[socket]] = {}
    for sock in given.take(listener.host, listener.port, listener.name):
        by_address.setdefault(sock.getsockname(), []).append(sock)
    return list(by_address.values())
