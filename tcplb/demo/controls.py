"""What the keys do, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tcplb.demo.load import LightLoad
from tcplb.demo.state import State
from tcplb.testbed.backends import Backends
from tcplb.testbed.balancer import Balancer
from tcplb.testbed.errors import BedError

STRATEGIES = (
    "hash",
    "maglev",
    "rendezvous",
    "round-robin",
    "least-connections",
    "random",
    "power-of-two",
    "peak-ewma",
    "first",
)
"""In the order in which they are switched."""

Note = Callable[[str, str], None]
"""Takes the text and the level of an event."""

_PENDING = 8
"""Keys that may wait; more are from somebody who fell asleep on the keyboard."""


class Controls:
    """Does what is asked for by a key: `press` asks, and `work` does it."""

    def __init__(
        self, backends: Backends, balancer: Balancer, load: LightLoad, state: State, note: Note
    ) -> None:
        """Take what the keys are about. `note` is told what is done."""
        self._backends = backends
        self._balancer = balancer
        self._load = load
        self._state = state
        self._note = note
        self._pressed: asyncio.Queue[str] = asyncio.Queue(_PENDING)

    def press(self, key: str) -> None:
        """Have it done soon, or forget about it if too many wait."""
        if not self._pressed.full():
            self._pressed.put_nowait(key)

    async def work(self) -> None:
        """Do what is asked for until cancelled. Raises BedError if there is no balancer left."""
        while True:
            await self._do(await self._pressed.get())

    async def _do(self, key: str) -> None:
        match key.lower():
            case "s":
                await self._switch_strategy()
            case "l":
                await self._switch_load()
            case digit if digit.isdecimal() and 1 <= int(digit) <= len(self._backends.names):
                await self._kill_or_revive(self._backends.names[int(digit) - 1])

    async def _kill_or_revive(self, name: str) -> None:
        pid = self._backends.pid(name)
        if pid is not None:
            await self._backends.kill(name)
            self._note(f"backend {name} pid {pid} killed by a key", "warning")
            return
        try:
            await self._backends.revive(name)
        except BedError as error:
            self._note(f"backend {name} cannot be revived: {error}", "error")

    async def _switch_strategy(self) -> None:
        place = STRATEGIES.index(self._balancer.strategy)
        strategy = STRATEGIES[(place + 1) % len(STRATEGIES)]
        self._note(
            f"{strategy} from now on: the balancer is restarted, it cannot reload yet", "info"
        )
        loaded = self._load.on
        await self._load.stop()
        await self._balancer.restart(strategy)
        self._state.restarted(strategy, asyncio.get_running_loop().time())
        if loaded:
            self._load.start()

    async def _switch_load(self) -> None:
        if self._load.on:
            await self._load.stop()
        else:
            self._load.start()
        self._note(f"light load {'on' if self._load.on else 'off'}", "info")
