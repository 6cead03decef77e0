"""Explains a choice as things are: with the health and the connections of this moment."""

from __future__ import annotations

import time

from tcplb.config.wording import one_of
from tcplb.control.admin.control import NotFoundError
from tcplb.control.admin.models import CandidateView, Explanation
from tcplb.control.plan import plan_pool
from tcplb.control.rehearsal import SupposedOccupancy, rehearsal_pool
from tcplb.control.serving import Serving
from tcplb.policy.addresses import client_address
from tcplb.policy.explain import Arrival, Key, explain_choice, key_of
from tcplb.policy.pool import Pool


def explain(
    serving: Serving, pool_name: str | None, client: str | None, first_line: str | None
) -> Explanation:
    """Return which backend a connection would get. Raises NotFoundError and ValueError."""
    pools = serving.config.pools
    name = serving.config.listeners[0].pool if pool_name is None else pool_name
    if name not in pools:
        raise NotFoundError(f"pool {one_of(list(pools), name)}")
    config = pools[name]
    positions = [serving.crew.numbering.backends[name, each.name] for each in config.backends]
    active = [max(0, sum(serving.board.active(position))) for position in positions]
    pool = rehearsal_pool(plan_pool(name, config), occupancy=SupposedOccupancy(active))
    now = time.monotonic()
    for verdict in serving.crew.verdicts.in_force():
        if verdict.pool == name:
            pool.learn(verdict.transition, now=now)
    key = _key(pool, client, first_line)
    explanation = explain_choice(pool, key.value, now=now)
    return Explanation(
        pool=name,
        key=key.value.decode(errors="backslashreplace"),
        key_from=key.source,
        chosen=None if explanation.chosen is None else explanation.chosen.name,
        stage=explanation.stage.value,
        trial=explanation.trial,
        candidates=[
            CandidateView(
                backend=each.backend.name,
                tier=each.backend.tier,
                rank=each.rank,
                verdict=each.verdict.value,
                active=each.active,
            )
            for each in explanation.candidates
        ],
    )


def _key(pool: Pool, client: str | None, first_line: str | None) -> Key:
    if not pool.keyed:
        return Key(b"", "none: the strategy does not look at it")
    if client is None:
        raise ValueError("`client` is needed: the strategy goes by a key")
    if client_address(client) is None:
        raise ValueError("`client` must be an IP address, without a port")
    line = None if first_line is None else first_line.encode(errors="surrogateescape")
    return key_of(pool.rules.key_rule, Arrival(client, line))
