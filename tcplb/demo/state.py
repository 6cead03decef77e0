"""What there is to see, worked out from what happened. Pure: whoever calls says what time it is.

All times are seconds of one monotonic clock, except in `Noted`.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcplb.loadgen.tally import Tally
    from tcplb.testbed.balancer import Event, SessionLine

KEPT_EVENTS = 200
LOG_DELAY = 1.0
"""Seconds by which the balancer's logs may reach us late, with room to spare."""

_MOMENT = 0.5
"""Seconds that are not worth telling."""
_POOL = "pool default: "
"""Begins what the balancer says of a backend; there is no other pool here."""
_EJECTED_FOR = re.compile(r"ejected for ([\d.]+) s")


class Health(StrEnum):
    """What can be said of a backend."""

    UP = "up"
    EJECTED = "ejected"
    """The balancer passes it by."""
    DOWN = "down"
    """Its process is gone, and the balancer has not ejected it (yet)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One backend, as it is shown."""

    number: int
    """From 1: the key that kills and revives it."""
    name: str
    health: Health
    why: str
    share: float
    """Of all connections that ended in the window; from 0 to 1."""
    rate: float
    """Connections a second, over the window."""
    now: int
    """Connections that are open."""
    total: int
    """Connections that have ended."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that happened."""

    at: float
    """Seconds since the epoch."""
    text: str
    """One line, all of it printable."""
    level: str


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is shown at some moment."""

    url: str
    strategy: str
    running: float
    """Seconds since the demo began."""
    rows: Sequence[Row]
    connections: int
    """Connections that have ended, those of the light load included."""
    retried: int
    """Those of them that got another backend than the first one tried."""
    failed: int
    """Those of them that got none."""
    load_on: bool
    load_answered: int
    load_errors: int
    events: Sequence[Noted]
    """The last ones, the oldest first."""


class Window:
    """Counts by name over the last seconds, a quarter of a second exact."""

    SECONDS = 10.0
    _PARTS = 4
    """Of a second; what is older than the window is dropped in such parts."""

    def __init__(self, began: float) -> None:
        """Begin to count."""
        self._began = began
        self._parts: deque[tuple[int, Counter[str]]] = deque()

    def add(self, name: str, now: float) -> None:
        """Count one."""
        part = int(now * self._PARTS)
        if not self._parts or self._parts[-1][0] < part:
            self._parts.append((part, Counter()))
        self._parts[-1][1][name] += 1

    def counts(self, now: float) -> Counter[str]:
        """Return what was counted in the window that ends now."""
        oldest = int((now - self.SECONDS) * self._PARTS)
        while self._parts and self._parts[0][0] <= oldest:
            self._parts.popleft()
        return sum((counted for _, counted in self._parts), Counter())

    def seconds(self, now: float) -> float:
        """Return how long the window is: at first shorter than later, but never below 1 s."""
        return min(max(now - self._began, 1.0), self.SECONDS)


@dataclass(slots=True)
class _Backend:
    name: str
    pid: int | None = None
    gone_at: float | None = None
    """When our process ended, if it did."""
    elsewhere: bool = False
    """Whether somebody else's process took its place."""
    ejected: bool = False
    ejected_until: float = 0.0
    total: int = 0
    now: int = 0

    def health(self) -> Health:
        if self.ejected:
            return Health.EJECTED
        return Health.UP if self.pid is not None or self.elsewhere else Health.DOWN

    def why(self, now: float) -> str:
        if self.pid is not None:
            process = f"pid {self.pid}"
        else:
            process = "not our process" if self.elsewhere else "gone"
        if not self.ejected:
            return process
        left = self.ejected_until - now
        return f"{process}, trial {f'in {left:.0f} s' if left >= _MOMENT else 'due'}"

    def reached(self, began: float) -> None:
        """Take note that a connect that began then has succeeded."""
        # One that began before the process ended says nothing of who listens there now.
        if self.gone_at is not None and began > self.gone_at + LOG_DELAY:
            self.elsewhere = True


class State:
    """Takes in what happens, and returns the picture of it."""

    def __init__(self, strategy: str, *, now: float, epoch: float) -> None:
        """Begin; `epoch` is what makes a monotonic time one since the epoch when added to it."""
        self.url = ""
        """Where clients connect."""
        self._strategy = strategy
        self._began = now
        self._epoch = epoch
        self._backends: dict[str, _Backend] = {}
        self._window = Window(now)
        self._events: deque[Noted] = deque(maxlen=KEPT_EVENTS)
        self._news: list[Noted] = []
        self._connections = self._retried = self._failed = 0
        self.load_on = False
        self._load_answered = self._load_errors = 0
        self._load_fails = False

    def begin(self, backends: Sequence[str]) -> None:
        """Take in which backends there are."""
        self._backends = {name: _Backend(name) for name in backends}

    def note(self, text: str, now: float, level: str = "info") -> None:
        """Add an event."""
        printable = "".join(c if c.isprintable() else "?" for c in text)
        noted = Noted(now + self._epoch, printable, level)
        self._events.append(noted)
        self._news.append(noted)

    def news(self) -> list[Noted]:
        """Return the events since the last call."""
        news, self._news = self._news, []
        return news

    def event(self, event: Event) -> None:
        """Take in what the balancer said."""
        self.note(event.text.removeprefix(_POOL), event.at, event.level)
        backend = self._backends.get(event.backend)
        if backend is None:
            return
        if event.kind == "ejected":
            found = _EJECTED_FOR.search(event.text)
            backend.ejected = True
            backend.ejected_until = event.at + (float(found[1]) if found else 0.0)
            backend.elsewhere = False
        elif event.kind == "returned":
            backend.ejected = False
            backend.reached(event.at)

    def session(self, line: SessionLine) -> None:
        """Take in a connection that has ended."""
        self._connections += 1
        backend = self._backends.get(line.backend or "")
        if backend is None or line.connect_ms < 0:
            self._failed += 1
            return
        self._retried += line.attempts > 1
        backend.total += 1
        backend.now = line.active_on_backend - 1  # itself included
        backend.reached(line.at - line.total_ms / 1000)
        self._window.add(backend.name, line.at)

    def process(self, name: str, pid: int | None, now: float) -> None:
        """Take in which process of ours a backend has, if any. To be called again and again."""
        backend = self._backends[name]
        if pid is not None:
            backend.gone_at = None
            backend.elsewhere = False
        elif backend.pid is not None:
            backend.gone_at = now
        backend.pid = pid

    def established(self, counts: Mapping[str, int]) -> None:
        """Take in how many connections each backend has, from who knows it better than a log."""
        for name, count in counts.items():
            self._backends[name].now = count

    def restarted(self, strategy: str, now: float) -> None:
        """Take in that the balancer is another one: it knows of no ejections, and nor do we."""
        self._strategy = strategy
        self._window = Window(now)
        for backend in self._backends.values():
            backend.ejected = False

    def load(self, tally: Tally, now: float) -> None:
        """Take in what the light load has seen since the last call."""
        self._load_answered += tally.requests
        self._load_errors += tally.errors
        if tally.errors and not self._load_fails:
            causes = ", ".join(f"{cause} ({n})" for cause, n in tally.failures.most_common())
            self.note(f"the light load's clients fail: {causes}", now, "error")
        self._load_fails = tally.errors > 0

    def picture(self, now: float) -> Picture:
        """Return what is to be shown now."""
        counts = self._window.counts(now)
        return Picture(
            url=self.url,
            strategy=self._strategy,
            running=now - self._began,
            rows=[
                self._row(number, backend, counts, now)
                for number, backend in enumerate(self._backends.values(), 1)
            ],
            connections=self._connections,
            retried=self._retried,
            failed=self._failed,
            load_on=self.load_on,
            load_answered=self._load_answered,
            load_errors=self._load_errors,
            events=tuple(self._events),
        )

    def _row(self, number: int, backend: _Backend, counts: Counter[str], now: float) -> Row:
        count = counts[backend.name]
        return Row(
            number=number,
            name=backend.name,
            health=backend.health(),
            why=backend.why(now),
            share=count / max(counts.total(), 1),
            rate=count / self._window.seconds(now),
            now=backend.now,
            total=backend.total,
        )
