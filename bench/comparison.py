"""Runs a scenario over its candidates, interleaved: each round does a slice of each of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bench import cores
from bench.candidates import HAPROXY, Candidate
from bench.cores import Policy
from bench.load.client import LoadError
from bench.processes import SkippedError
from bench.results import Results
from bench.running import Balancer, backends, balancer
from bench.scenarios import Scenario, Slice, request
from bench.settings import Settings
from bench.stats import Summary

Open = Callable[[Candidate], AbstractContextManager[Balancer]]


def rotated(candidates: Sequence[Candidate], by: int) -> list[Candidate]:
    """Return `candidates` beginning with another one each round: nobody is always the first."""
    start = by % len(candidates) if candidates else 0
    return [*candidates[start:], *candidates[:start]]


class Comparison:
    """One run of the benchmark. What it measures goes into `results`."""

    def __init__(
        self, settings: Settings, results: Results, directory: Path, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._results = results
        self._directory = directory
        self._say = say
        self._places = itertools.count()

    def run(
        self,
        scenario: Scenario,
        candidates: Sequence[Candidate],
        on: frozenset[int] = cores.BALANCER,
    ) -> None:
        """Measure `candidates` on the given cores. What cannot be measured is noted as skipped."""
        try:
            half_rate = self._haproxy_rate() / 2 if scenario.needs_rate else 0.0
        except (SkippedError, LoadError) as error:
            self._skip(scenario, "all", f"it needs HAProxy's highest rate, but {error}")
            return
        with backends(scenario.policy) as ports, contextlib.ExitStack() as stack:

            def start(candidate: Candidate) -> AbstractContextManager[Balancer]:
                return self._balancer(candidate, ports, on)

            if scenario.fresh:
                self._rounds(scenario, half_rate, candidates, start)
            else:
                running = self._start_all(scenario, candidates, start, stack)
                self._rounds(
                    scenario, half_rate, list(running), lambda c: contextlib.nullcontext(running[c])
                )

    def _start_all(
        self,
        scenario: Scenario,
        candidates: Sequence[Candidate],
        start: Open,
        stack: contextlib.ExitStack,
    ) -> dict[Candidate, Balancer]:
        running = {}
        for candidate in candidates:
            try:
                running[candidate] = stack.enter_context(start(candidate))
            except SkippedError as error:
                self._skip(scenario, candidate.name, str(error))
        return running

    def _rounds(
        self, scenario: Scenario, half_rate: float, candidates: Sequence[Candidate], start: Open
    ) -> None:
        left = list(candidates)
        for number in self._round_numbers(scenario):
            for candidate in rotated(left, number):
                progress = f"{scenario.name} {number or 'warm-up'}: {candidate.name}"
                try:
                    with start(candidate) as running:
                        figures = scenario.slice(Slice(running, self._settings, half_rate))
                except (SkippedError, LoadError) as error:
                    self._skip(scenario, candidate.name, str(error))
                    left.remove(candidate)
                    continue
                self._say(f"{progress}: {_in_short(scenario, figures)}")
                if number:
                    self._results.add(scenario.name, candidate.name, figures)

    def _round_numbers(self, scenario: Scenario) -> range:
        """Return the numbers of the rounds from 1; 0 is the one that does not count."""
        rounds = min(self._settings.rounds, scenario.most_rounds)
        warm_up = self._settings.warm_up and not scenario.fresh and scenario.most_rounds > 1
        return range(0 if warm_up else 1, rounds + 1)

    @contextlib.contextmanager
    def _balancer(
        self, candidate: Candidate, ports: list[int], on: frozenset[int]
    ) -> Iterator[Balancer]:
        directory = self._directory / f"{next(self._places)}-{candidate.name}"
        limit = self._settings.max_connections
        with balancer(candidate, ports, directory, max_connections=limit, on=on) as running:
            yield running

    def _haproxy_rate(self) -> float:
        """Return HAProxy's highest rate of requests in this run.

        Raises SkippedError or LoadError if there is none.
        """
        if samples := self._results.samples("request", HAPROXY.name, "rate"):
            return Summary.of(samples).median
        with (
            backends(Policy.BATCH) as ports,
            self._balancer(HAPROXY, ports, cores.BALANCER) as running,
        ):
            return request(Slice(running, self._settings, 0.0))["rate"]

    def _skip(self, scenario: Scenario, what: str, reason: str) -> None:
        self._say(f"{scenario.name}: {what} skipped: {reason}")
        self._results.skip(scenario.name, what, reason)


def _in_short(scenario: Scenario, figures: dict[str, float]) -> str:
    return ", ".join(
        f"{measure.title} {figures[measure.key]:.4g} {measure.unit}"
        for measure in scenario.measures
        if measure.key in figures
    )
