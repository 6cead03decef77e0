"""A story for pictures of the dashboard: five minutes in which something happened."""

from __future__ import annotations

from dataclasses import dataclass
from math import sin
from random import Random
from typing import Any

from playwright.sync_api import Page

from tcplb.config.changes import SetState
from tests.control.admin.fake import FakeBackend, FakeControl

SECONDS = 300
FAILED = 165
"""When the backend that fails did so."""
DRAINED = 240


@dataclass
class Story:
    """One backend has failed and one is draining; the others take what those took."""

    seed: int = 7

    def tell(self, control: FakeControl) -> list[dict[str, Any]]:
        """Let it happen, and return the statistics of each second."""
        rng = Random(self.seed)
        control.by_pool = {
            "web": {
                each.name: each
                for each in (
                    backend("web", "api-1", "10.0.4.11:8080", 4, 310),
                    backend("web", "api-2", "10.0.4.12:8080", 4, 290),
                    backend("web", "api-3", "10.0.4.13:8080", 2, 150),
                    backend("web", "api-4", "10.0.4.14:8080", 2, 160),
                )
            },
            "db": {
                each.name: each
                for each in (
                    backend("db", "replica-1", "10.0.7.21:5432", 1, 42),
                    backend("db", "replica-2", "10.0.7.22:5432", 1, 39),
                )
            },
        }
        control.event("worker", "worker 2 is ready")
        return [self._second(control, second, rng) for second in range(SECONDS)]

    def _second(self, control: FakeControl, second: int, rng: Random) -> dict[str, Any]:
        control.now += 1
        wave = 1 + 0.25 * sin(second / 40) + rng.uniform(-0.06, 0.06)
        for each in control.all_backends():
            self._move(control, each, 25 * each.weight * wave, rng)
        if FAILED - 8 < second <= FAILED:
            control.by_pool["web"]["api-3"].connect_failures += rng.randrange(1, 25)
        if second == FAILED:
            self._fail(control)
        if second == DRAINED:
            self._drain(control)
        return control.stats().model_dump()

    def _move(self, control: FakeControl, each: FakeBackend, expected: float, rng: Random) -> None:
        if each.passive == "ejected":
            each.active = max(0, each.active - 12)
            return
        if each.mode == "draining":
            each.active = max(14, each.active - rng.randrange(3))
            return
        new = max(0, round(expected + rng.gauss(0, 3)))
        control.accepted += new
        each.connections += new
        each.connect_seconds += new * rng.uniform(0.0006, 0.0011)
        each.bytes_up += new * rng.randrange(700, 1_000)
        each.bytes_down += new * rng.randrange(18_000, 26_000)
        each.active = max(1, each.active + rng.randrange(-4, 5))

    def _fail(self, control: FakeControl) -> None:
        each = control.by_pool["web"]["api-3"]
        each.passive, each.since_at = "ejected", control.now
        each.ejections += 1
        each.ejected_until_at = control.now + SECONDS
        control.event(
            "health",
            "backend api-3 of pool web is ejected: 3 connects in a row have failed (refused)",
            "web",
            "api-3",
        )

    def _drain(self, control: FakeControl) -> None:
        each = control.by_pool["db"]["replica-2"]
        each.mode, each.since_at = "draining", control.now
        each.drain_until_at = control.now + 600
        each.changes = ["draining by the operator"]
        control.changed.append((SetState("db", "replica-2", "draining"), 600.0))
        control.event(
            "operator", "replica-2 of pool db is draining, until 10m from now", "db", "replica-2"
        )


def backend(pool: str, name: str, address: str, weight: int, active: int) -> FakeBackend:
    return FakeBackend(pool, name, address, weight=weight, active=active)


def show(page: Page, past: list[dict[str, Any]]) -> None:
    """Give the page the past that it would have if it had been open all the time."""
    page.evaluate(
        """async (past) => {
          const { changed, state } = await import("/static/store.js");
          const { History } = await import("/static/history.js");
          state.history = new History();
          for (const stats of past) state.history.add(stats);
          changed();
          for (let frame = 0; frame < 5; frame += 1) await new Promise(requestAnimationFrame);
        }""",
        past,
    )
