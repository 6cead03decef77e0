"""A strategy of the user's own: a Python function, which cannot do worse than round robin.

docs/strategies.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from traceback import format_exception_only

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load
from tcplb.policy.round_robin import RoundRobin

MAX_PICK = 0.001
"""Seconds that a function may take for one connection; all others wait for as long."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend as a user's function sees it: what is configured, and what is so at the moment."""

    name: str
    host: str
    port: int
    weight: int
    max_connections: int
    _count: Callable[[], int] = field(repr=False, compare=False)
    _effective_weight: Callable[[], float] = field(repr=False, compare=False)

    @property
    def active(self) -> int:
        """The connections open at this moment, over all workers."""
        return self._count()

    @property
    def effective_weight(self) -> float:
        """`weight`, or less while the backend is coming back (`slow_start`)."""
        return self._effective_weight()


Answer = Candidate | str | Iterable[Candidate | str]
"""A backend, its name, or several of them in preference order."""

PickFunction = Callable[[bytes, Sequence[Candidate]], Answer]


class _UnusableError(Exception):
    """What the function returned cannot be used, or came too late."""


class Custom:
    """Yields backends as a function says, and those that it leaves out as round robin does.

    The function runs once an order. Whenever it fails, by an exception, a wrong answer or by
    taking longer than `MAX_PICK`, round robin orders instead, and the reason is told. A function
    that does not return at all cannot be helped: nobody can interrupt it.
    """

    def __init__(  # noqa: PLR0917 - strategy.py makes it, in one place
        self,
        backends: Sequence[Backend],
        load: Load,
        function: PickFunction,
        fallback: RoundRobin,
        clock: Callable[[], float],
        failed: Callable[[str], None],
    ) -> None:
        """Let `function` order `backends`, or else `fallback`, which is over the same ones.

        `clock` returns seconds, and `failed` is called with the reason whenever the function fails.
        """
        self.keyed = bool(getattr(function, "keyed", True))
        # Whether it goes by `effective_weight`; if not, the pool sees to the slow start.
        self.by_load = bool(getattr(function, "by_load", False))
        self._function = function
        self._fallback = fallback
        self._clock = clock
        self._failed = failed
        self._backends = {backend.name: backend for backend in backends}
        self._candidates = tuple(
            _candidate(backend, load, index)
            for index, backend in enumerate(backends)
            if backend.weight > 0
        )

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once."""
        if not self._candidates:
            return
        seen = set()
        for name in self._ask(key):
            seen.add(name)
            yield self._backends[name]
        for backend in self._fallback.order(key):
            if backend.name not in seen:
                yield backend

    def shares(self) -> Mapping[str, float]:
        """Return nothing: only the function knows."""
        return {}

    def _ask(self, key: bytes) -> Iterable[str]:
        """Return the names that the function gives for `key`; none if it fails."""
        try:
            return self._answer(key)
        except _UnusableError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self._failed("raised " + format_exception_only(error)[-1].strip())
        return ()

    def _answer(self, key: bytes) -> Iterable[str]:
        began = self._clock()
        answer = self._function(key, self._candidates)
        entries = (answer,) if isinstance(answer, Candidate | str) else answer
        if not isinstance(entries, Iterable):
            raise _UnusableError(f"returned {type(answer).__name__}, not backends or their names")
        names: dict[str, None] = {}  # each once, in the order given
        # As many as there are backends: an iterable may have no end. And all of them now, because
        # it may also fail, or take its time, at any entry.
        for entry in islice(entries, len(self._backends)):
            backend = self._find(entry)
            if backend.weight > 0:
                names[backend.name] = None
            self._check_time(began)
        self._check_time(began)
        return names

    def _find(self, entry: object) -> Backend:
        name = entry.name if isinstance(entry, Candidate) else entry
        if not isinstance(name, str):
            raise _UnusableError(f"gave {type(name).__name__}, not a backend or its name")
        if name not in self._backends:
            raise _UnusableError(f"named {name!r}, which is no backend of this pool")
        return self._backends[name]

    def _check_time(self, began: float) -> None:
        took = self._clock() - began
        if took > MAX_PICK:
            raise _UnusableError(f"took {took * 1000:.3g} ms, more than {MAX_PICK * 1000:g} ms")


def _candidate(backend: Backend, load: Load, index: int) -> Candidate:
    return Candidate(
        backend.name,
        backend.host,
        backend.port,
        backend.weight,
        backend.max_connections,
        load.counts[index],
        partial(load.weights.__getitem__, index),
    )
