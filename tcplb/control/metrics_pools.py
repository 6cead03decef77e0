"""The metrics of pools: what their backends are and can take, and who waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tcplb.control.metrics_text import Family, labels
from tcplb.control.plan import Plan, PoolPlan
from tcplb.control.scoreboard import Scoreboard
from tcplb.control.verdicts import Verdicts
from tcplb.dataplane.counters import CONNECT_BOUNDS
from tcplb.policy.backend import Backend
from tcplb.policy.fingerprint import fingerprint
from tcplb.policy.transition import Mode


def pool_metrics(plan: Plan, board: Scoreboard, verdicts: Verdicts) -> Sequence[Family]:
    """Return how all pools and their backends are."""
    pools = _Pools(board, verdicts)
    for pool in plan.pools:
        pools.add(pool)
    return pools.families


class _Pools:
    """The metrics, while they are filled in pool by pool."""

    def __init__(self, board: Scoreboard, verdicts: Verdicts) -> None:
        self._board = board
        self._verdicts = verdicts
        self._active = Family(
            "tcplb_connections_active",
            "gauge",
            "Connections that a backend has now, those that are being dialled included.",
        )
        self._up = Family(
            "tcplb_backend_up", "gauge", "Whether nothing speaks against using the backend."
        )
        self._state = Family(
            "tcplb_backend_state",
            "gauge",
            "What is thought of the backend: 1 for each state that it is in.",
        )
        self._weight = Family("tcplb_backend_weight", "gauge", "Its weight; 0 gets nothing new.")
        self._limit = Family(
            "tcplb_backend_max_connections", "gauge", "Its max_connections; 0 for no limit."
        )
        self._ejections = Family(
            "tcplb_backend_ejections_total", "counter", "How often the backend was ejected."
        )
        self._usable = Family(
            "tcplb_pool_usable_backends",
            "gauge",
            "Backends of a weight above 0 that nothing speaks against.",
        )
        self._waiting = Family(
            "tcplb_queue_waiting", "gauge", "Connections that wait in the queue of the pool now."
        )
        self._waits = Family(
            "tcplb_queue_wait_seconds",
            "histogram",
            "How long connections waited in the queue, whatever came of it.",
        )
        self._fingerprint = Family(
            "tcplb_ring_fingerprint_info",
            "gauge",
            "How the pool places keys: balancers with the same fingerprint agree on every key.",
        )

    @property
    def families(self) -> Sequence[Family]:
        """All of them, in the order of the page."""
        return (
            self._active,
            self._up,
            self._state,
            self._weight,
            self._limit,
            self._ejections,
            self._usable,
            self._waiting,
            self._waits,
            self._fingerprint,
        )

    def add(self, pool: PoolPlan) -> None:
        """Add a pool and its backends."""
        usable = 0
        for backend, mode, number in zip(pool.backends, pool.modes, pool.positions, strict=True):
            up = self._add_backend(pool.name, backend, mode, number)
            usable += up and backend.weight > 0
        name = labels(pool=pool.name)
        self._usable.add(usable, name)
        queue = self._board.queue_totals(pool.number)
        self._waiting.add(queue.waiting, name)
        self._waits.add_histogram(CONNECT_BOUNDS, queue.wait_buckets, queue.wait_seconds, name)
        self._add_fingerprint(pool)

    def _add_backend(self, pool: str, backend: Backend, mode: Mode, number: int) -> bool:
        """Add a backend; return whether it is up."""
        where = labels(pool=pool, backend=backend.name)
        states = self._states(pool, backend.name, mode)
        for state, holds in states.items():
            self._state.add(int(holds), f'{where},state="{state}"')
        up = [state for state, holds in states.items() if holds] == [Mode.ENABLED.value]
        self._up.add(int(up), where)
        self._active.add(sum(self._board.active(number)), where)
        self._weight.add(backend.weight, where)
        self._limit.add(backend.max_connections, where)
        self._ejections.add(self._verdicts.ejections(pool, backend.name), where)
        return up

    def _states(self, pool: str, backend: str, mode: Mode) -> Mapping[str, bool]:
        """Return what the operator, the checks and the clients' connects say of a backend."""
        verdicts = self._verdicts
        on_trial = verdicts.on_trial(pool, backend)
        ejected = verdicts.ejected(pool, backend) is not None
        return {
            **{each.value: each is mode for each in Mode},
            "down": verdicts.down(pool, backend) is not None,
            "ejected": ejected and not on_trial,
            "on_trial": on_trial,
        }

    def _add_fingerprint(self, pool: PoolPlan) -> None:
        strategy, rule = pool.strategy, pool.rules.key_rule
        digits = fingerprint(strategy.name, rule, strategy.table_size, pool.backends)
        if digits:
            name = labels(pool=pool.name, strategy=strategy.name, fingerprint=digits)
            self._fingerprint.add(1, name)
