from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tcplb.config.changes import (
    AddBackend,
    RemoveBackend,
    RuntimeChange,
    RuntimeChanges,
    SetState,
    SetWeight,
    backend_from_text,
)
from tcplb.config.models import BackendConfig, Config, LimitsConfig
from tcplb.errors import ChangeError
from tests.config.backend_texts import NAMES, Table, changes_of, pools_of_tables

B1, B2, B3 = (BackendConfig(name=f"b{n}", address=f"127.0.0.1:808{n}") for n in (1, 2, 3))
NEW = BackendConfig(name="b5", address="127.0.0.1:8085", weight=2)
SAME = "the settings say the same now"


def config_of(**pools: list[BackendConfig]) -> Config:
    tables = {name: {"backends": backends} for name, backends in pools.items()}
    return Config.model_validate({"pools": tables, "listeners": [{"pool": next(iter(pools))}]})


WEB = config_of(web=[B1, B2, B3])


def changed(*changes: RuntimeChange, config: Config = WEB) -> RuntimeChanges:
    overlay = RuntimeChanges()
    for change in changes:
        overlay = overlay.with_change(change, config)
    return overlay


def texts(changes: RuntimeChanges) -> list[str]:
    return [str(change) for change in changes]


def backends_of(config: Config, pool: str = "web") -> list[BackendConfig]:
    return list(config.pools[pool].backends)


def test_nothing_changed() -> None:
    assert not RuntimeChanges()
    assert RuntimeChanges().apply_to(WEB) == WEB
    assert RuntimeChanges().to_json() == []


def test_each_change_in_words() -> None:
    changes = changed(
        SetState("web", "b1", "draining"),
        SetWeight("web", "b1", 7),
        RemoveBackend("web", "b2"),
        AddBackend("web", NEW),
        AddBackend("web", BackendConfig(address="h:1", state="disabled", backup=True)),
    )
    assert texts(changes) == [
        "backend b1 of pool web: draining",
        "backend b1 of pool web: weight 7",
        "backend b2 of pool web: removed",
        "backend b5 of pool web: added (127.0.0.1:8085, weight 2)",
        'backend "h:1" of pool web: added (h:1, backup true, state disabled)',
    ]
    assert bool(changes)
    assert changes.about("web", "b1") == (
        SetState("web", "b1", "draining"),
        SetWeight("web", "b1", 7),
    )
    assert changes.about("web", "b5") == (AddBackend("web", NEW),)
    assert changes.about("db", "b1") == changes.about("web", "b3") == ()


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ([SetState("web", "b1", "draining"), SetState("web", "b1", "enabled")], []),
        ([SetWeight("web", "b1", 5), SetWeight("web", "b1", 1)], []),
        ([SetWeight("web", "b1", 5), SetWeight("web", "b1", 6)], [SetWeight("web", "b1", 6)]),
        (
            [SetWeight("web", "b1", 5), SetState("web", "b1", "disabled")],
            [SetState("web", "b1", "disabled"), SetWeight("web", "b1", 5)],
        ),
        ([SetWeight("web", "b1", 5), RemoveBackend("web", "b1")], [RemoveBackend("web", "b1")]),
        ([AddBackend("web", NEW), RemoveBackend("web", "b5")], []),
        (
            [AddBackend("web", NEW), SetWeight("web", "b5", 9), SetState("web", "b5", "draining")],
            [AddBackend("web", NEW.model_copy(update={"weight": 9, "state": "draining"}))],
        ),
        ([RemoveBackend("web", "b1"), AddBackend("web", B1)], []),
        (
            [
                RemoveBackend("web", "b1"),
                AddBackend("web", B1.model_copy(update={"weight": 3})),
            ],
            [SetWeight("web", "b1", 3)],
        ),
        (
            [
                RemoveBackend("web", "b1"),
                AddBackend("web", B1.model_copy(update={"address": "h:1"})),
                RemoveBackend("web", "b1"),
            ],
            [RemoveBackend("web", "b1")],
        ),
    ],
)
def test_the_normal_form(changes: list[RuntimeChange], left: list[RuntimeChange]) -> None:
    assert list(changed(*changes)) == left


def test_another_backend_under_the_name_of_one_that_was_removed_takes_its_place() -> None:
    other = BackendConfig(name="b2", address="127.0.0.1:9999")
    changes = changed(RemoveBackend("web", "b2"), AddBackend("web", other))
    assert list(changes) == [RemoveBackend("web", "b2"), AddBackend("web", other)]
    assert backends_of(changes.apply_to(WEB)) == [B1, other, B3]


def test_added_ones_come_last_in_the_order_in_which_they_came() -> None:
    later = BackendConfig(name="a", address="h:1")
    changes = changed(AddBackend("web", NEW), AddBackend("web", later), SetWeight("web", "b5", 8))
    names = [backend.name for backend in backends_of(changes.apply_to(WEB))]
    assert names == ["b1", "b2", "b3", "b5", "a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            SetWeight("web", "b33", 1),
            "no backend is called b33 in pool web; did you mean b3?",
        ),
        (
            RemoveBackend("web", "x\x1b"),
            'no backend is called "x\\x1b" in pool web (there are b1, b2, b3)',
        ),
        (SetState("wbe", "b1", "enabled"), "no pool is called wbe; did you mean web?"),
        (SetState("x", "b1", "enabled"), "no pool is called x (there are web)"),
        (AddBackend("web", B1), "backend b1 of pool web is there already"),
        (SetWeight("web", "b1", 257), "weight must be a whole number from 0 to 256 (got 257)"),
        (SetWeight("web", "b1", -1), "weight must be a whole number from 0 to 256 (got -1)"),
        (SetWeight("web", "b1", True), "weight must be a whole number from 0 to 256 (got true)"),
        (
            # Typed code cannot say this, but JSON of another version can.
            SetState("web", "b1", "drain"),  # type: ignore[arg-type]
            "state must be one of enabled, draining, disabled "
            '(got "drain"; did you mean "draining"?)',
        ),
        (
            AddBackend("web", BackendConfig(address="h:1", backup=True, tier=3)),
            "tier: must not be there beside backup, which means tier 1 (got 3)",
        ),
    ],
)
def test_what_does_not_fit(change: RuntimeChange, message: str) -> None:
    with pytest.raises(ChangeError) as caught:
        RuntimeChanges().with_change(change, WEB)
    assert str(caught.value) == message


def test_a_removed_backend_is_not_there_for_another_change() -> None:
    changes = changed(RemoveBackend("web", "b1"))
    for change in (SetWeight("web", "b1", 2), RemoveBackend("web", "b1")):
        with pytest.raises(ChangeError, match="no backend is called b1"):
            changes.with_change(change, WEB)


def test_many_names_are_not_all_listed() -> None:
    config = config_of(web=[BackendConfig(address=f"h:{n}") for n in range(1, 99)])
    with pytest.raises(ChangeError) as caught:
        RuntimeChanges().with_change(RemoveBackend("web", "qqqq"), config)
    assert str(caught.value).endswith('"h:7", "h:8", ...)')


def test_the_last_backend_stays() -> None:
    changes = changed(RemoveBackend("web", "b1"), RemoveBackend("web", "b2"))
    with pytest.raises(ChangeError) as caught:
        changes.with_change(RemoveBackend("web", "b3"), WEB)
    assert str(caught.value) == (
        "backend b3 of pool web is the only one there, and a pool needs one"
    )
    replaced = changes.with_change(AddBackend("web", NEW), WEB)
    replaced = replaced.with_change(RemoveBackend("web", "b3"), WEB)
    assert backends_of(replaced.apply_to(WEB)) == [NEW]


def test_changes_that_do_not_fit_are_not_applied() -> None:
    with pytest.raises(ChangeError, match="no backend is called b3"):
        changed(SetWeight("web", "b3", 2)).apply_to(config_of(web=[B1]))
    with pytest.raises(ChangeError) as caught:
        changed(RemoveBackend("web", "b1")).apply_to(config_of(web=[B1]))
    assert str(caught.value) == "pool web would have no backend left"


def test_only_the_pool_that_is_meant_changes() -> None:
    config = config_of(web=[B1, B2], db=[B1, B2])
    applied = changed(SetWeight("db", "b1", 9), config=config).apply_to(config)
    assert applied.pools["web"] == config.pools["web"]
    assert [backend.weight for backend in backends_of(applied, "db")] == [9, 1]


@pytest.mark.parametrize(
    ("changes", "now", "left", "dropped"),
    [
        ([SetWeight("web", "b1", 5)], WEB, [SetWeight("web", "b1", 5)], []),
        (
            [SetWeight("web", "b1", 5)],
            config_of(web=[B1.model_copy(update={"weight": 5})]),
            [],
            [f"backend b1 of pool web: weight 5: {SAME}"],
        ),
        (
            [SetWeight("web", "b1", 5), SetState("web", "b1", "draining")],
            config_of(web=[B1.model_copy(update={"weight": 5})]),
            [SetState("web", "b1", "draining")],
            [f"backend b1 of pool web: weight 5: {SAME}"],
        ),
        (
            [SetState("web", "b1", "draining")],
            config_of(web=[B2]),
            [],
            ["backend b1 of pool web: draining: there is no such backend any more"],
        ),
        (
            [AddBackend("web", NEW), SetState("web", "b1", "draining")],
            config_of(db=[B1]),
            [],
            [
                "backend b5 of pool web: added (127.0.0.1:8085, weight 2): "
                "there is no such pool any more",
                "backend b1 of pool web: draining: there is no such pool any more",
            ],
        ),
        (
            [AddBackend("web", NEW)],
            config_of(web=[B1, NEW]),
            [],
            [f"backend b5 of pool web: added (127.0.0.1:8085, weight 2): {SAME}"],
        ),
        (
            [AddBackend("web", NEW)],
            config_of(web=[B1, NEW.model_copy(update={"weight": 7})]),
            [],
            [
                "backend b5 of pool web: added (127.0.0.1:8085, weight 2): "
                "the settings have another one of that name now"
            ],
        ),
        (
            [RemoveBackend("web", "b1")],
            config_of(web=[B2]),
            [],
            [f"backend b1 of pool web: removed: {SAME}"],
        ),
        (
            [RemoveBackend("web", "b1"), RemoveBackend("web", "b2")],
            config_of(web=[B1, B2]),
            [RemoveBackend("web", "b1")],
            ["backend b2 of pool web: removed: it is the last one that the pool has now"],
        ),
        (
            [RemoveBackend("web", "b1"), AddBackend("web", B1.model_copy(update={"tier": 1}))],
            config_of(web=[B2]),
            [AddBackend("web", B1.model_copy(update={"tier": 1}))],
            [],
        ),
        (
            [RemoveBackend("web", "b1"), AddBackend("web", B1.model_copy(update={"tier": 1}))],
            config_of(web=[B1.model_copy(update={"tier": 1})]),
            [],
            [f"backend b1 of pool web: added (127.0.0.1:8081, tier 1): {SAME}"],
        ),
        (
            [RemoveBackend("web", "b1"), AddBackend("web", B1.model_copy(update={"tier": 1}))],
            config_of(web=[B1.model_copy(update={"tier": 1, "weight": 3})]),
            [SetWeight("web", "b1", 1)],
            [],
        ),
    ],
)
def test_rebased(
    changes: list[RuntimeChange], now: Config, left: list[RuntimeChange], dropped: list[str]
) -> None:
    rebased, words = changed(*changes).rebased(now)
    assert list(rebased) == left
    assert list(words) == dropped


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        "[]",
        [1],
        [{}],
        [{"change": "nosuch", "pool": "web", "backend": "b1"}],
        [{"change": "state", "pool": "web", "backend": "b1"}],
        [{"change": "state", "pool": "web", "backend": "b1", "state": "on"}],
        [{"change": "state", "pool": "web", "backend": "b1", "state": []}],
        [{"change": "weight", "pool": "web", "backend": "b1", "weight": 300}],
        [{"change": "weight", "pool": "web", "backend": "b1", "weight": True}],
        [{"change": "weight", "pool": 1, "backend": "b1", "weight": 3}],
        [{"change": "remove", "pool": "web", "backend": None}],
        [{"change": "add", "pool": "web", "backend": "b1"}],
        [{"change": "add", "pool": "web", "backend": {}}],
        [{"change": "add", "pool": "web", "backend": {"address": "nowhere"}}],
        [{"change": "add", "pool": "web", "backend": {"address": "h:1", "wait": 1}}],
        [{"change": "remove", "pool": "web", "backend": "b1"}] * 2,
        [
            {"change": "add", "pool": "web", "backend": {"name": "b1", "address": "h:1"}},
            {"change": "remove", "pool": "web", "backend": "b1"},
        ],
        [
            {"change": "state", "pool": "web", "backend": "b1", "state": "enabled"},
            {"change": "remove", "pool": "web", "backend": "b2"},
            {"change": "weight", "pool": "web", "backend": "b1", "weight": 3},
        ],
    ],
)
def test_json_that_is_nonsense(data: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        RuntimeChanges.from_json(data)


def test_backend_from_text() -> None:
    backend = backend_from_text("b5=127.0.0.1:8085,weight=2,state=draining")
    assert backend == BackendConfig(name="b5", address="127.0.0.1:8085", weight=2, state="draining")
    assert backend_from_text("H:1") == BackendConfig(address="h:1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'address: must be HOST:PORT, but the port is missing (got "")'),
        ("h:1,weight=300", "weight: must be at most 256 (got 300)"),
        ("b 1=h:1", 'name: must be made of letters, digits and . _ - : % [ ] (got "b 1")'),
        ("h:1,backup,tier=2", "tier: must not be there beside backup, which means tier 1 (got 2)"),
        ("h:1,weight=x", 'weight must be a whole number (got "x")'),
    ],
)
def test_a_backend_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        backend_from_text(text)
    assert str(caught.value) == message


class Overlay(RuleBasedStateMachine):
    """Random changes, against a dictionary of what ought to be in force."""

    config = WEB
    changes = RuntimeChanges()

    @initialize(pools=pools_of_tables())
    def load(self, pools: dict[str, list[Table]]) -> None:
        self.config = loaded(pools)
        self.model: dict[str, dict[str, BackendConfig | None]] = {
            name: {backend.name: backend for backend in pool.backends}
            for name, pool in self.config.pools.items()
        }

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        change = data.draw(changes_of(list(self.config.pools)))
        members = dict(self.model[change.pool])
        fits = change_model(members, change, self.config) and any(members.values())
        if fits:
            self.changes = self.changes.with_change(change, self.config)
            self.model[change.pool] = members
        else:
            with pytest.raises(ChangeError):
                self.changes.with_change(change, self.config)

    @rule(pools=pools_of_tables())
    def look_at_other_settings(self, pools: dict[str, list[Table]]) -> None:
        other = loaded(pools)
        left, dropped = self.changes.rebased(other)
        assert left.rebased(other) == (left, ())
        assert validated(left.apply_to(other)) == left.apply_to(other)
        assert all(text.isprintable() for text in dropped)

    @rule()
    def reload_what_is_in_force(self) -> None:
        in_force = self.changes.apply_to(self.config)
        left, dropped = self.changes.rebased(in_force)
        assert not left
        assert bool(dropped) == bool(self.changes)
        self.config, self.changes = in_force, left
        for pool, backends in self.in_force().items():
            self.model[pool] = {backend.name: backend for backend in backends}

    @rule(timeout=st.integers(1, 9))
    def reload_with_something_else_changed(self, timeout: int) -> None:
        limits = LimitsConfig(drain_timeout=float(timeout))
        self.config = self.config.model_copy(update={"limits": limits})

    @invariant()
    def what_is_in_force(self) -> None:
        if not hasattr(self, "model"):
            return
        applied = self.changes.apply_to(self.config)
        assert {name: list(pool.backends) for name, pool in applied.pools.items()} == (
            self.in_force()
        )
        assert validated(applied) == applied
        assert bool(self.changes) == (applied != self.config)

    @invariant()
    def nothing_is_lost_without_news(self) -> None:
        assert self.changes.rebased(self.config) == (self.changes, ())
        data = json.loads(json.dumps(self.changes.to_json()))
        assert RuntimeChanges.from_json(data) == self.changes

    def in_force(self) -> dict[str, list[BackendConfig]]:
        return {
            pool: [backend for backend in members.values() if backend]
            for pool, members in self.model.items()
        }


def loaded(pools: dict[str, list[Table]]) -> Config:
    tables = {name: {"backends": backends} for name, backends in pools.items()}
    return Config.model_validate({"pools": tables, "listeners": [{"pool": next(iter(pools))}]})


def validated(config: Config) -> Config:
    return Config.model_validate(config.model_dump(mode="json"))


def change_model(
    members: dict[str, BackendConfig | None], change: RuntimeChange, config: Config
) -> bool:
    """Make the change, and say whether it fits."""
    if isinstance(change, AddBackend):
        name = change.backend.name
        taken = bool(members.get(name))
        members[name] = change.backend
        return not taken
    before = members.get(change.backend)
    if before is None:
        return False
    match change:
        case RemoveBackend():
            members[change.backend] = None
            if all(b.name != change.backend for b in config.pools[change.pool].backends):
                del members[change.backend]
        case SetState():
            members[change.backend] = before.model_copy(update={"state": change.state})
        case SetWeight():
            members[change.backend] = before.model_copy(update={"weight": change.weight})
    return True


TestOverlay = Overlay.TestCase
TestOverlay.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)


@given(name=st.sampled_from(NAMES), pool=st.text(max_size=5))
def test_texts_are_printable(name: str, pool: str) -> None:
    assert str(RemoveBackend(pool, name)).isprintable()
