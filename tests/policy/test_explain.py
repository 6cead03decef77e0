from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.explain import (
    Arrival,
    Explanation,
    Stage,
    Verdict,
    explain_choice,
    has_room,
    key_of,
)
from tcplb.policy.names import HashKey, KeyRule, StrategyName, parse_key_rule
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.strategy import MakeStrategy
from tcplb.policy.transition import Checked, Mode, State, Transition
from tests.policy.backends import limited, named, weighted

NOW = 10.0
EJECT = EjectPolicy(max_ejected_percent=100, jitter=0)


@dataclass(frozen=True)
class Case:
    """A pool in some state, of which several can be made that are the same."""

    strategy: StrategyName
    backends: tuple[Backend, ...]
    modes: dict[str, Mode]
    down: frozenset[str]
    ejected_until: dict[str, float]
    active: tuple[int, ...]
    factor: int
    panic: int
    earlier: int
    """Connections that have come and gone."""
    exclude: frozenset[str]
    key: bytes

    def pool(self) -> Pool:
        occupancy = LocalOccupancy(len(self.backends))
        for position, active in enumerate(self.active):
            for _ in range(active):
                occupancy.try_enter(position, 0)
        rng = Random(1)
        pool = Pool(
            "web",
            self.backends,
            MakeStrategy(self.strategy, rng, table_size=251),
            rng=rng,
            rules=PoolRules(
                hash_balance_factor=self.factor, panic_threshold=self.panic, eject=EJECT
            ),
            occupancy=occupancy,
            modes=self.modes,
        )
        for number in range(self.earlier):
            lease = pool.acquire(b"/%d" % number, now=0.0)
            if lease is not None:
                pool.release(lease)
        for name, until in self.ejected_until.items():
            news = Transition(name, State.EJECTED, "ejected", until=until, ejections=1)
            pool.learn(news, now=0.0)
        for name in self.down:
            pool.learn(Transition(name, Checked.DOWN, "is down"), now=0.0)
        return pool


TROUBLES = ["", "", "", "", "down", "ejected", "due", "draining", "disabled"]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = "abcdef"[: draw(st.sampled_from([0, 2, 3, 4, 5, 6]))]
    size = len(names)
    troubles = {name: draw(st.sampled_from(TROUBLES)) for name in names}
    until = {"ejected": 99.0, "due": 1.0}
    return Case(
        strategy=draw(st.sampled_from([*StrategyName, StrategyName.HASH])),
        backends=tuple(
            Backend(
                name,
                "127.0.0.1",
                8081,
                weight=draw(st.sampled_from([1, 1, 1, 3, 0])),
                max_connections=draw(st.sampled_from([0, 0, 1, 2])),
                tier=draw(st.sampled_from([0, 0, 0, 1, 2])),
            )
            for name in names
        ),
        modes={
            name: Mode(text) for name, text in troubles.items() if text in ("draining", "disabled")
        },
        down=frozenset(name for name, trouble in troubles.items() if trouble == "down"),
        ejected_until={name: until[text] for name, text in troubles.items() if text in until},
        active=tuple(draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))),
        factor=draw(st.sampled_from([0, 101, 101, 150])),
        panic=draw(st.sampled_from([0, 60, 100])),
        earlier=draw(st.integers(0, 5)),
        exclude=draw(st.frozensets(st.sampled_from("abcdef"), max_size=2)),
        key=draw(st.binary(max_size=4)),
    )


# -- the explanation and the choice -----------------------------------------------------------


@settings(max_examples=300)
@given(cases())
def test_the_backend_explained_is_the_one_that_acquire_takes(case: Case) -> None:
    explained, used = case.pool(), case.pool()
    explanation = explain_choice(explained, case.key, now=NOW, exclude=case.exclude)
    lease = used.acquire(case.key, now=NOW, exclude=case.exclude)
    event(explanation.stage.name)
    if lease is None:
        assert explanation.chosen is None
        full = used.full(case.exclude)
        assert explanation.stage is (Stage.FULL if full else Stage.NONE)
    else:
        assert explanation.chosen is lease.backend
        assert explanation.trial == lease.trial


@given(cases())
def test_every_backend_is_a_candidate_once_and_at_most_one_is_chosen(case: Case) -> None:
    explanation = explain_choice(case.pool(), case.key, now=NOW, exclude=case.exclude)
    backends = [candidate.backend for candidate in explanation.candidates]
    assert sorted(backends, key=lambda one: one.name) == list(case.backends)
    assert [one.tier for one in backends] == sorted(one.tier for one in backends)
    chosen = [one.backend for one in explanation.candidates if one.verdict is Verdict.CHOSEN]
    assert chosen == ([explanation.chosen] if explanation.chosen else [])


@given(cases())
def test_a_reason_is_true_of_its_backend(case: Case) -> None:
    pool = case.pool()
    explanation = explain_choice(pool, case.key, now=NOW, exclude=case.exclude)
    for candidate in explanation.candidates:
        backend, health = candidate.backend, pool.health(candidate.backend)
        true = {
            Verdict.CHOSEN: backend is explanation.chosen,
            Verdict.NEXT: explanation.chosen is not None and has_room(pool, backend),
            Verdict.WEIGHT_0: backend.weight == 0,
            Verdict.DRAINING: health.mode is Mode.DRAINING,
            Verdict.DISABLED: health.mode is Mode.DISABLED,
            Verdict.DOWN: health.checked is Checked.DOWN,
            Verdict.EJECTED: not health.tracker.admits(NOW),
            Verdict.TRIED: backend.name in case.exclude,
            Verdict.OVER_BOUND: pool.keyed and pool.saturated(backend),
            Verdict.FULL: not has_room(pool, backend),
            Verdict.NOT_REACHED: backend.tier > min(one.tier for one in case.backends),
        }
        assert true[candidate.verdict], candidate


@given(cases())
def test_to_explain_counts_nothing(case: Case) -> None:
    pool = case.pool()
    explain_choice(pool, case.key, now=NOW, exclude=case.exclude)
    assert pool.active_total == case.pool().active_total
    assert [pool.active(backend) for backend in case.backends] == list(case.active)


# -- by example -------------------------------------------------------------------------------


def case_of(backends: list[Backend], **changes: object) -> Case:
    plain = Case(
        strategy=StrategyName.FIRST,
        backends=tuple(backends),
        modes={},
        down=frozenset(),
        ejected_until={},
        active=(0,) * len(backends),
        factor=0,
        panic=0,
        earlier=0,
        exclude=frozenset(),
        key=b"key",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def explained(case: Case) -> Explanation:
    return explain_choice(case.pool(), case.key, now=NOW, exclude=case.exclude)


def verdicts(case: Case) -> dict[str, str]:
    return {one.backend.name: one.verdict.value for one in explained(case).candidates}


def test_each_reason_in_words() -> None:
    backends = [*weighted(zero=0), *named("out", "off", "down", "thrown", "tried")]
    backends += [*limited(full=1), *named("this", "that")]
    case = case_of(
        backends,
        modes={"out": Mode.DRAINING, "off": Mode.DISABLED},
        down=frozenset({"down"}),
        ejected_until={"thrown": 99.0},
        exclude=frozenset({"tried"}),
        active=(0,) * 6 + (1, 0, 0),
    )
    assert verdicts(case) == {
        "out": "draining",
        "off": "disabled",
        "down": "down",
        "thrown": "ejected",
        "tried": "tried",
        "full": "full",
        "this": "chosen",
        "that": "not needed",
        "zero": "weight 0",
    }
    assert [one.rank for one in explained(case).candidates] == [1, 2, 3, 4, 5, 6, 7, 8, 0]
    assert explained(case).stage is Stage.ORDER


def backups(*names: str) -> list[Backend]:
    return [replace(backend, tier=1) for backend in named(*names)]


def test_a_tier_is_not_reached_while_a_lower_one_decides() -> None:
    case = case_of([*named("a"), *backups("b")])
    assert verdicts(case) == {"a": "chosen", "b": "tier not reached"}
    down = replace(case, down=frozenset("a"))
    assert verdicts(down) == {"a": "down", "b": "chosen"}


def test_a_tier_that_is_only_full_does_not_spill_over() -> None:
    case = case_of([*limited(a=1), *backups("b")], active=(1, 0))
    assert verdicts(case) == {"a": "full", "b": "tier not reached"}
    assert explained(case).stage is Stage.FULL


def test_with_all_down_the_first_that_is_enabled_is_the_last_resort() -> None:
    case = case_of(named("a", "b"), modes={"a": Mode.DRAINING}, down=frozenset("ab"))
    assert verdicts(case) == {"a": "draining", "b": "chosen"}
    assert explained(case).stage is Stage.LAST_RESORT


def test_an_ejected_one_may_be_the_last_resort() -> None:
    case = case_of(named("a", "b"), ejected_until={"a": 99.0}, down=frozenset("b"))
    assert verdicts(case) == {"a": "chosen", "b": "down"}
    assert explained(case).stage is Stage.LAST_RESORT


def test_the_last_resort_may_be_full_too() -> None:
    case = case_of(limited(a=1), down=frozenset("a"), active=(1,))
    assert explained(case).chosen is None
    assert explained(case).stage is Stage.FULL


def test_in_panic_one_that_is_down_is_chosen() -> None:
    case = case_of(named("a", "b", "c"), down=frozenset("ab"), panic=50)
    assert verdicts(case) == {"a": "chosen", "b": "not needed", "c": "not needed"}
    assert explained(case).stage is Stage.PANIC


def test_the_bound_of_load_passes_a_key_on() -> None:
    case = case_of(named("a", "b", "c"), strategy=StrategyName.HASH, factor=101)
    owner, second, _ = explained(case).candidates
    active = tuple(5 if one is owner.backend else 0 for one in case.backends)
    crowded = verdicts(replace(case, active=active))
    assert crowded[owner.backend.name] == "over the bound of load"
    assert crowded[second.backend.name] == "chosen"


def test_with_all_that_have_room_over_the_bound_the_first_of_them_is_taken() -> None:
    # One more makes 8; 101 % of that are 9 places, 3 for each: more than b and c may take.
    case = case_of(
        [*named("a"), *limited(b=1, c=1)],
        strategy=StrategyName.HASH,
        factor=101,
        active=(5, 1, 1),
    )
    explanation = explained(case)
    assert (explanation.chosen, explanation.stage) == (case.backends[0], Stage.OVER_BOUND)
    full = replace(case, backends=tuple(limited(a=5, b=1, c=1)))
    assert verdicts(full) == {"a": "over the bound of load", "b": "full", "c": "full"}
    assert explained(full).stage is Stage.FULL


def test_one_that_is_over_the_bound_and_full_does_not_spill_over() -> None:
    backends = [*limited(a=5), *named("b"), *backups("c")]
    case = case_of(
        backends,
        strategy=StrategyName.HASH,
        factor=101,
        active=(5, 0, 0),
        exclude=frozenset("b"),
    )
    assert verdicts(case) == {
        "a": "over the bound of load",
        "b": "tried",
        "c": "tier not reached",
    }
    assert explained(case).stage is Stage.FULL


def test_the_bound_of_load_is_for_keyed_strategies_only() -> None:
    case = case_of(named("a", "b"), factor=101, active=(9, 0))
    assert verdicts(case) == {"a": "chosen", "b": "not needed"}


def test_a_trial_is_told() -> None:
    explanation = explained(case_of(named("a", "b"), ejected_until={"a": 1.0}))
    assert explanation.chosen is not None
    assert (explanation.chosen.name, explanation.trial) == ("a", True)


# -- the key ----------------------------------------------------------------------------------

ARRIVAL = Arrival("203.0.113.5")


@pytest.mark.parametrize(
    ("rule", "first_line", "value", "source"),
    [
        ("client", b"GET /x HTTP/1.1", b"203.0.113.5", "the client's address"),
        ("client/24", None, b"203.0.113.0/24", "the client's network"),
        ("auto", b"GET /x HTTP/1.1", b"/x", "the target of the request line"),
        ("request", b"GET http://a.b/x?y HTTP/1.0", b"/x?y", "the target of the request line"),
        (
            "auto",
            b"HELO there",
            b"203.0.113.5",
            "the client's address, because the first line is not HTTP/1",
        ),
        (
            "request",
            None,
            b"203.0.113.5",
            "the client's address, because no request is given",
        ),
        ("first-line", b"HELO there", b"HELO there", "the first line"),
        (
            "first-line",
            None,
            b"203.0.113.5",
            "the client's address, because no first line is given",
        ),
    ],
)
def test_the_key_and_its_source(
    rule: str, first_line: bytes | None, value: bytes, source: str
) -> None:
    key = key_of(parse_key_rule(rule), replace(ARRIVAL, first_line=first_line))
    assert (key.value, key.source) == (value, source)


def test_the_destination_has_to_be_known() -> None:
    rule = KeyRule(HashKey.DESTINATION)
    key = key_of(rule, replace(ARRIVAL, destination=("10.0.0.1", 443)))
    assert (key.value, key.source) == (b"10.0.0.1:443", "the destination")
    with pytest.raises(ValueError, match="not known"):
        key_of(rule, ARRIVAL)


def test_the_hash_is_the_published_one_of_xxh64() -> None:
    # Of the empty input with seed 0, as the specification of xxHash has it.
    assert key_of(KeyRule(HashKey.FIRST_LINE), Arrival("", b"")).hash == "ef46db3751d8e999"
