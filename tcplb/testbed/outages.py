"""What came of each kill, from what was seen. Pure: times are given, as `time.monotonic()`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, inf

from tcplb.loadgen.result import Chaos, ChaosEvent, Outage
from tcplb.testbed.log_lines import Event, SessionLine

_NORMAL_END = "--"
_ROUNDING = 0.005
"""Seconds by which a session may seem too early: its line has whole milliseconds."""


@dataclass(slots=True)
class _Down:
    """One backend from its kill on."""

    backend: str
    killed: float
    ejected: float | None = None
    reviving: float | None = None
    """When it was started again: what connects from then on has met the new process."""
    listening: float | None = None
    returned: float | None = None


class Sightings:
    """What was seen of the backends, in the order of its coming."""

    def __init__(self) -> None:
        self._events: list[tuple[float, str, str, str]] = []
        self._all: list[_Down] = []
        self._last: dict[str, _Down] = {}
        """The last outage of each backend."""
        self._retries: list[tuple[float, int]] = []

    def killed(self, backend: str, at: float, text: str) -> None:
        """Note that it was killed."""
        down = self._last[backend] = _Down(backend, at)
        self._all.append(down)
        self._events.append((at, "killed", backend, text))

    def restarted(self, backend: str, begun: float, listening: float, text: str) -> None:
        """Note that it was started again, and when it listened."""
        down = self._last.get(backend)
        if down is not None:
            down.reviving, down.listening = begun, listening
        self._events.append((listening, "restarted", backend, text))

    def event(self, event: Event) -> None:
        """Note what the balancer says of a backend."""
        if event.kind not in ("ejected", "returned"):
            return
        self._events.append((event.at, event.kind, event.backend, event.text))
        down = self._last.get(event.backend)
        if down is None:
            return
        if event.kind == "returned":
            _return(down, event.at)
        elif down.ejected is None and down.returned is None:
            down.ejected = event.at

    def session(self, line: SessionLine) -> None:
        """Note a session that has ended."""
        connected = _connected_at(line)
        if line.attempts > 1:
            self._retries.append((connected, line.attempts - 1))
        if line.backend in self._last and line.termination == _NORMAL_END:
            _return(self._last[line.backend], connected)

    def chaos(self, began: float, errors: Mapping[int, int]) -> Chaos:
        """Return it all, in seconds since `began`.

        `errors` are those that clients saw, by the number of the second. An outage has those of
        each second that it touches.
        """
        retries: Counter[int] = Counter()
        for at, number in self._retries:
            retries[floor(at - began)] += number
        return Chaos(
            events=[
                ChaosEvent(at - began, kind, backend, text)
                for at, kind, backend, text in sorted(self._events)
            ],
            outages=[self._outage(number, began, errors) for number in range(len(self._all))],
            retries=dict(sorted(retries.items())),
        )

    def _outage(self, number: int, began: float, errors: Mapping[int, int]) -> Outage:
        down = self._all[number]
        # What has not returned is counted until the next one has the blame.
        until = self._all[number + 1].killed if number + 1 < len(self._all) else inf
        if down.returned is not None:
            until = down.returned
        first, last = floor(down.killed - began), until - began
        return Outage(
            backend=down.backend,
            killed_at=down.killed - began,
            restarted_at=None if down.listening is None else down.listening - began,
            seconds_to_eject=_after(down.killed, down.ejected),
            seconds_to_return=_after(down.listening, down.returned),
            errors=sum(count for second, count in errors.items() if first <= second <= last),
            retries=sum(
                count for at, count in self._retries if down.killed - _ROUNDING <= at <= until
            ),
        )


def _return(down: _Down, at: float) -> None:
    """Note that it has got a connection, unless that was before it was started again."""
    if down.reviving is None or at < down.reviving:
        return
    if down.returned is None or at < down.returned:
        down.returned = at


def _connected_at(line: SessionLine) -> float:
    """Return when its last dial was over; sessions last, and are logged at their end."""
    return line.at - (line.total_ms - max(line.connect_ms, 0)) / 1000


def _after(since: float | None, until: float | None) -> float | None:
    if since is None or until is None:
        return None
    return max(until - since, 0.0)  # it can get a connection before we hear that it listens
