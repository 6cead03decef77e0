"""The demo from beginning to end: starts everything, shows it, and stops everything."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tcplb.demo.controls import Controls
from tcplb.demo.established import established
from tcplb.demo.fronts import Front, LiveView, Plain
from tcplb.demo.keys import END_OF_INPUT
from tcplb.demo.load import LightLoad
from tcplb.demo.output import Output
from tcplb.demo.plain import totals
from tcplb.demo.state import State
from tcplb.demo.stopping import Stop, StoppedError
from tcplb.loadgen.tally import Tally
from tcplb.testbed.backends import Backends
from tcplb.testbed.balancer import Balancer, Event
from tcplb.testbed.child import in_words
from tcplb.testbed.errors import BedError

REFRESH = 0.25
"""Seconds between two pictures."""
COUNT_TIME = 1.0
"""Seconds between two counts of open connections, at least."""
_COUNT_PAUSE = 20
"""Times as long as a count took, until the next one: a long table must not keep a core busy."""

_QUIT = ("q", "\x03", END_OF_INPUT)
_LAST_WORDS = 5
"""Events that are printed after a view that has ended in trouble."""

_SETTINGS = Path(__file__).with_name("demo.toml")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user wishes. Ports that are in use are replaced; 0 is any free one."""

    port: int
    backend_ports: Sequence[int]
    strategy: str
    load: bool
    output: int
    """The descriptor to print or draw on."""
    keyboard: int | None
    """The descriptor of the terminal that keys come from; None for plain lines."""


async def show(options: Options) -> None:
    """Run the demo until somebody ends it. Nothing is left running, however it ends.

    Raises BedError if something cannot be started or the balancer ended by itself, and OSError if
    nothing could be printed any more.
    """
    stop = Stop()
    stop.on_signals()
    loop = asyncio.get_running_loop()

    def on_error() -> None:
        with contextlib.suppress(RuntimeError):  # it was all over before that was noticed
            loop.call_soon_threadsafe(stop.set)

    output = Output(options.output, on_error=on_error)
    try:
        with contextlib.suppress(StoppedError):
            await _Show(options, stop, output).run()
    finally:
        output.close()
    # EIO is a terminal that was closed: that ends the demo like SIGHUP, which comes with it.
    if output.error is not None and output.error.errno != errno.EIO:
        raise output.error


class _Show:
    """What all parts of the demo tell, and where it goes."""

    def __init__(self, options: Options, stop: Stop, output: Output) -> None:
        self._options = options
        self._stop = stop
        self._output = output
        self._controls: Controls | None = None
        now = time.monotonic()
        self._state = State(options.strategy, now=now, epoch=time.time() - now)
        self._plain = Plain(output)
        self._front: Front = self._plain
        if options.keyboard is not None:
            self._front = LiveView(output, options.keyboard, self._on_key)

    async def run(self) -> None:
        try:
            await self._run()
        except BedError:
            if self._front is not self._plain:  # the view is gone, and what it has said with it
                self._plain.tell(self._state.picture(time.monotonic()).events[-_LAST_WORDS:])
            raise
        self._output.write(f"in all: {totals(self._state.picture(time.monotonic()))}\n")

    async def _run(self) -> None:
        """Start everything, show it until it is over, and stop everything."""
        async with AsyncExitStack() as running:
            async with self._stop.cuts_short():
                backends = await running.enter_async_context(self._new_backends())
                self._state.begin(backends.names)
                for wished, taken in backends.moved.items():
                    self._on_moved(wished, taken)
                balancer = await running.enter_async_context(self._new_balancer(backends))
                if balancer.moved:
                    self._on_moved(self._options.port, balancer.port)
            self._state.url = f"http://localhost:{balancer.port}"
            load = await running.enter_async_context(self._new_load(balancer))
            if self._options.load:
                load.start()
            await self._until_over(backends, balancer, load)

    async def _until_over(self, backends: Backends, balancer: Balancer, load: LightLoad) -> None:
        self._controls = Controls(backends, balancer, load, self._state, self._note)
        with self._front:
            await _first_of(
                stop=self._stop.wait(),
                keys=self._controls.work(),
                pictures=self._refresh(backends, load),
                counts=self._count_open(backends),
                balancer=_watch(balancer),
            )

    async def _refresh(self, backends: Backends, load: LightLoad) -> None:
        while True:
            now = time.monotonic()
            for name in backends.names:
                self._state.process(name, backends.pid(name), now)
            self._state.load_on = load.on
            self._front.show(self._state.picture(now))
            await asyncio.sleep(REFRESH)

    async def _count_open(self, backends: Backends) -> None:
        while True:
            began = time.monotonic()
            self._state.established(await asyncio.to_thread(established, backends.names))
            took = time.monotonic() - began
            await asyncio.sleep(max(COUNT_TIME, _COUNT_PAUSE * took))

    # -- the parts, and what they tell --------------------------------------------------------

    def _new_backends(self) -> Backends:
        return Backends(ports=self._options.backend_ports, on_line=self._note)

    def _new_balancer(self, backends: Backends) -> Balancer:
        return Balancer(
            backends.names,
            port=self._options.port,
            strategy=self._options.strategy,
            flags=("--config", str(_SETTINGS)),
            on_event=self._on_event,
            on_session=self._state.session,
        )

    def _new_load(self, balancer: Balancer) -> LightLoad:
        def on_tick(tally: Tally) -> None:
            self._state.load(tally, time.monotonic())
            self._tell()

        return LightLoad(
            balancer.port, on_tick=on_tick, on_trouble=lambda why: self._note(why, "error")
        )

    def _on_event(self, event: Event) -> None:
        self._state.event(event)
        self._tell()

    def _on_moved(self, wished: int, taken: int) -> None:
        self._note(f"port {wished} is in use, 127.0.0.1:{taken} is used instead", "warning")

    def _on_key(self, key: str) -> None:
        if key.lower() in _QUIT:
            self._stop.set()
        elif self._controls is not None:
            self._controls.press(key)

    def _note(self, text: str, level: str = "info") -> None:
        self._state.note(text, time.monotonic(), level)
        self._tell()

    def _tell(self) -> None:
        self._front.tell(self._state.news())


async def _watch(balancer: Balancer) -> None:
    """Wait until the balancer ends by itself; raise BedError then."""
    raise BedError(f"the balancer ended by itself: {in_words(await balancer.ended())}")


async def _first_of(**waits: Coroutine[object, object, None]) -> None:
    """Run them until one has ended, then cancel the others. Raises what that one raised."""
    tasks = [asyncio.create_task(wait, name=f"demo: {name}") for name, wait in waits.items()]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in done:
        task.result()
