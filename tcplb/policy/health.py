"""Whether a backend is usable: what the operator, the checks and the clients' connects say of it.

::

    operator        enabled ◀──▶ draining ◀──▶ disabled        `set_mode`
    active checks   up ◀──▶ down                               `learn`, from the prober
    passive         in ──▶ ejected ◀──▶ on trial ──▶ in        `observe`, and `learn` from others

    usable  =  enabled  and  up  and  in

The three know nothing of each other, with one exception: a check that passes ends an ejection,
which the prober's owner tells as a return (`State.IN`). One that is ejected, enabled and up is
admitted once its trial is due; see `ejection`.
"""

from __future__ import annotations

from tcplb.policy.ejection import EjectPolicy, FailureTracker
from tcplb.policy.transition import Checked, Mode, State, Transition

_ENABLED = Mode.ENABLED  # in Python 3.11, reading a member off its enum takes 120 ns
_UP = Checked.UP
_IN = State.IN


class Health:
    """What is thought of one backend. All times are seconds of one clock."""

    __slots__ = ("checked", "mode", "name", "tracker")

    def __init__(self, name: str, eject: EjectPolicy, mode: Mode = Mode.ENABLED) -> None:
        self.name = name
        self.mode = mode
        self.checked = Checked.UP
        self.tracker = FailureTracker(name, eject)

    @property
    def enabled(self) -> bool:
        """Whether the operator wants it used."""
        return self.mode is _ENABLED

    @property
    def usable(self) -> bool:
        """Whether nothing speaks against it."""
        return self.mode is _ENABLED and self.checked is _UP and self.tracker.state is _IN

    def admits(self, now: float) -> bool:
        """Whether a connection may be sent there: it is usable, or its trial is due."""
        return self.mode is _ENABLED and self.checked is _UP and self.tracker.admits(now)

    def trial_due(self, now: float) -> bool:
        """Whether a connection that is sent there now is its trial."""
        return self.checked is _UP and self.tracker.trial_due(now)

    def set_mode(self, mode: Mode, reason: str, *, now: float) -> Transition | None:
        """Do what the operator says; return the change, if it is one."""
        if mode is self.mode:
            return None
        self.mode = mode
        return Transition(self.name, mode, f"is {mode.value}: {reason}", at=now)

    def learn(self, news: Transition, *, now: float, may_eject: bool) -> bool:
        """Take over a verdict that was reached elsewhere; return whether it was news here."""
        match news.state:
            case Mode():
                return self.set_mode(news.state, news.reason, now=now) is not None
            case Checked():
                known, self.checked = self.checked, news.state
                return known is not news.state
            case State():
                return self.tracker.learn(news, now=now, may_eject=may_eject)

    def objection(self, now: float) -> str | None:
        """Return in words what speaks against sending a connection there, if anything."""
        if self.mode is not _ENABLED:
            return self.mode.value
        if self.checked is not _UP:
            return self.checked.value
        if not self.tracker.admits(now):
            return self.tracker.state.value
        return None
