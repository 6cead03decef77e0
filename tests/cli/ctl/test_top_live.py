"""The live view of `tcplb ctl top`, on a real pseudo-terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle

import pytest

from tests.cli.ctl.balancer import Balancer
from tests.control.admin.fake import FakeControl
from tests.terminal import Terminal

INTO_THE_VIEW, OUT_OF_IT = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_SHOWN, CURSOR_HIDDEN = "\x1b[?25h", "\x1b[?25l"


class Top(Terminal):
    """The view on a terminal."""

    def __init__(
        self,
        balancer: Balancer,
        *options: str,
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            *(sys.executable, "-m", "tcplb", "ctl", "top", *options),
            size=size,
            environment=balancer.environment | dict(environment or {}),
        )

    def ended(self) -> int:
        """Wait for the end; return the exit code. The terminal must be as it was before."""
        code = self.wait()
        assert self.settings() == self.settings_before
        assert self.output.count(INTO_THE_VIEW) == self.output.count(OUT_OF_IT) == 1
        assert self.output.rindex(CURSOR_SHOWN) > self.output.rindex(CURSOR_HIDDEN)
        assert "Traceback" not in self.output
        return code

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Read what comes until it is so."""
        self._read_until(condition, "it did not come about")

    def rows(self) -> list[str]:
        """Return the names of the backends, as they are sorted."""
        names = [line.split()[0] for line in self.screen() if line.strip()]
        return [name for name in names if name.startswith(("web/", "db/"))]


def work(control: FakeControl) -> None:
    """Let time pass, with another backend as the first one by each figure."""
    control.now += 1
    backends = control.by_pool["web"]
    backends["b1"].active = 50
    backends["b2"].connections += 200
    backends["b3"].connect_failures += 30
    backends["b4"].bytes_down += 10**6


@contextmanager
def top(balancer: Balancer, *options: str, size: tuple[int, int] = (80, 24)) -> Iterator[Top]:
    """Run it until backends are shown, with a balancer at work."""
    with balancer.at_work(work), Top(balancer, *options, size=size) as terminal:
        terminal.wait_for_screen(r"^ web/b1 +up")
        yield terminal


def test_it_shows_the_backends_and_leaves_by_q(balancer: Balancer) -> None:
    with top(balancer) as terminal:
        terminal.wait_for_screen(
            rf"^ tcplb top   127\.0\.0\.1:{balancer.port}  serving .*0\.0\.0, up"
        )
        terminal.wait_for_screen(r"^ 50 of 10,000 connections open")
        terminal.wait_for_screen(r"^ c  connections   r  rate   e  errors   b  bytes   q  quit")
        lines = terminal.screen()
        assert len(lines) == 24
        assert all(len(line.rstrip()) <= 80 for line in lines)
        terminal.type("q")
        assert terminal.ended() == 0


@pytest.mark.parametrize(("key", "first"), [("r", "b2"), ("e", "b3"), ("B", "b4")])
def test_keys_sort(balancer: Balancer, key: str, first: str) -> None:
    with top(balancer) as terminal:
        terminal.wait_for_screen(r"^ web/b1 +up +50")
        assert terminal.rows()[0] == "web/b1"
        terminal.type(key)
        terminal.wait_until(lambda: terminal.rows()[:1] == [f"web/{first}"])
        terminal.type("c")
        terminal.wait_until(lambda: terminal.rows()[:1] == ["web/b1"])
        terminal.type("q")
        assert terminal.ended() == 0


def test_it_begins_sorted_as_asked(balancer: Balancer) -> None:
    with top(balancer, "--sort", "errors") as terminal:
        terminal.wait_until(lambda: terminal.rows()[:1] == ["web/b3"])


def test_a_backend_that_goes_down(balancer: Balancer) -> None:
    with top(balancer) as terminal:
        balancer.do(lambda control: setattr(control.by_pool["web"]["b2"], "checked", "down"))
        terminal.wait_for_screen(r"^ web/b2 +down")


def test_a_pool_without_a_usable_backend(balancer: Balancer) -> None:
    with top(balancer) as terminal:

        def all_down(control: FakeControl) -> None:
            for backend in control.by_pool["db"].values():
                backend.mode = "disabled"

        balancer.do(all_down)
        terminal.wait_for_screen("NOT READY: a pool has no usable backend")


def test_the_terminal_may_change_its_size(balancer: Balancer) -> None:
    with top(balancer) as terminal:
        terminal.resize(60, 9)
        terminal.signal(signal.SIGWINCH)
        terminal.wait_for_screen(r"4 of 6 backends")
        assert len(terminal.screen()) == 9
        terminal.wait_for_screen(r"^ db/\[::1\]:5432 +up")
        terminal.resize(120, 40)
        terminal.signal(signal.SIGWINCH)
        terminal.wait_until(lambda: len(terminal.screen()) == 40)


def test_a_new_size_does_not_wait_for_new_figures(balancer: Balancer) -> None:
    with Top(balancer) as terminal:  # at rest: there is one frame and no more
        widths = cycle((60, 61))

        def seen() -> bool:
            terminal.resize(next(widths), 9)
            return any("4 of 6 backends" in line for line in terminal.screen())

        terminal.wait_until(seen)


def test_more_backends_than_lines() -> None:
    with Balancer(backends=300) as balancer, top(balancer) as terminal:
        terminal.wait_for_screen(r"19 of 302")
        assert len(terminal.screen()) == 24


def test_a_lost_connection_is_shown_and_comes_back(balancer: Balancer) -> None:
    with top(balancer) as terminal:
        balancer.stop()
        terminal.wait_for_screen(r"trying again \([1-5] left\)")
        balancer.start()
        terminal.wait_until(lambda: "trying again" not in "".join(terminal.screen()))
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_balancer_that_is_gone(balancer: Balancer) -> None:
    with top(balancer) as terminal:
        balancer.stop()
        assert terminal.ended() == 1
        assert "gave up after 5 attempts" in terminal.output.rpartition(OUT_OF_IT)[2]


def test_so_many_frames(balancer: Balancer) -> None:
    with Top(balancer, "--count", "1") as terminal:
        assert terminal.ended() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_signals_leave_the_terminal_as_it_was(
    balancer: Balancer, number: signal.Signals, code: int
) -> None:
    with top(balancer) as terminal:
        terminal.signal(number)
        assert terminal.ended() == code


def test_an_interrupt_by_its_key(balancer: Balancer) -> None:
    with top(balancer) as terminal:
        terminal.type("\x03")
        assert terminal.ended() == 130


def test_nobody_there_never_takes_the_terminal_away(balancer: Balancer) -> None:
    balancer.stop()
    with Top(balancer) as terminal:
        assert terminal.ended() == 1
        assert "Connection refused" in terminal.output.rpartition(OUT_OF_IT)[2]


def test_a_terminal_that_cannot_be_drawn_on_gets_text(balancer: Balancer) -> None:
    dumb = {"TERM": "dumb"}
    with balancer.at_work(work), Top(balancer, environment=dumb) as terminal:
        terminal.wait_for(r"(?m)^backend +state")
        assert INTO_THE_VIEW not in terminal.output
