"""The live view of `tcplb demo`, on a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mark import Mark
from tests.processes import WAIT, echo_backends, echoed
from tests.terminal import Terminal

ANY_PORTS = ("--port", "0", "--backend-ports", "0,0,0,0")
INTO_THE_VIEW, OUT_OF_IT = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_SHOWN, CURSOR_HIDDEN = "\x1b[?25h", "\x1b[?25l"

pytestmark = [
    pytest.mark.e2e,
    # It finds what a demo has left running by their environment, which only Linux shows.
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]


class Live(Terminal):
    """A demo on a terminal, and every process that came of it."""

    def __init__(self, *flags: str, term: str = "xterm") -> None:
        self.mark = Mark()
        # Some shells tell COLUMNS to their children; it is not true for long.
        super().__init__(
            *(sys.executable, "-m", "tcplb", "demo", *ANY_PORTS, *flags),
            environment=self.mark.environment | {"TERM": term, "COLUMNS": "66"},
        )

    def close(self) -> None:
        super().close()
        if self.process.poll() is not None:
            self.mark.kill()

    @property
    def port(self) -> int:
        return int(self.wait_for_screen(r"http://localhost:(\d+)  strategy")[1])

    def backend(self, number: int, shows: str) -> re.Match[str]:
        """Wait until the line of that backend shows this, and return that."""
        return self.wait_for_screen(rf"^ {number} (127\.0\.0\.1:(\d+)) +{shows}")

    def ended(self) -> int:
        """Wait for the end; return the exit code. All must be as it was before."""
        code = self.wait()
        assert self.mark.processes() == {}
        assert self.settings() == self.settings_before
        assert self.output.count(INTO_THE_VIEW) == self.output.count(OUT_OF_IT) == 1
        assert self.output.rindex(CURSOR_SHOWN) > self.output.rindex(CURSOR_HIDDEN)
        assert "Traceback" not in self.output
        return code

    def said_after(self) -> str:
        """Return what was printed when the view was left."""
        return self.output.rpartition(OUT_OF_IT)[2]


@contextmanager
def live(*flags: str) -> Iterator[Live]:
    """Run it until all backends are shown as up."""
    with Live(*flags) as terminal:
        for number in range(1, 5):
            terminal.backend(number, "up +pid")
        yield terminal


def test_a_backend_is_killed_and_revived_by_its_key() -> None:
    with live() as terminal:
        terminal.type("2")
        terminal.backend(2, "ejected gone, trial")
        terminal.wait_for_screen(r"backend \S+ pid \d+ killed by a key")
        terminal.type("2")
        # The light load's next connection after the ejection is the trial.
        terminal.backend(2, r"up +pid \d+ ")
        terminal.wait_for_screen(r"backend \S+ is back: a connect succeeded")
        terminal.type("q")
        assert terminal.ended() == 0
        assert re.search(
            r"^in all: [1-9]\d* connections, \d+ of them sent on to another backend, 0 turned "
            r"away; light load: [1-9]\d* answered, 0 errors\r\n$",
            terminal.said_after(),
        )


def test_without_the_load_a_killed_backend_is_down_until_it_is_revived() -> None:
    with live("--no-load") as terminal:
        terminal.wait_for_screen("light load off")
        terminal.type("3")
        terminal.backend(3, "down +gone")
        terminal.type("3")
        terminal.backend(3, r"up +pid \d+ ")
        terminal.type("l")
        terminal.wait_for_screen("light load on: [1-9]")
        terminal.type("l")
        terminal.wait_for_screen("light load off")
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_backend_that_somebody_else_revives_is_up_and_cannot_be_revived_twice() -> None:
    with live() as terminal:
        terminal.type("1")
        port = int(terminal.backend(1, "ejected gone")[2])
        with echo_backends(ports=(port,)):
            terminal.backend(1, "up +not our process")
            terminal.type("1")
            terminal.wait_for_screen(rf"backend 127\.0\.0\.1:{port} cannot be revived: ")
            terminal.backend(1, "up +not our process")
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_backend_that_somebody_else_kills_is_seen() -> None:
    with live() as terminal:
        shown = terminal.backend(4, r"up +pid (\d+) ")
        os.kill(int(shown[3]), signal.SIGKILL)
        terminal.backend(4, "(down +gone|ejected gone)")
        terminal.wait_for_screen(r"backend \S+ pid \d+ ended: killed by SIGKILL")
        terminal.type("q")
        assert terminal.ended() == 0


def test_the_strategy_is_switched_by_its_key_and_the_load_goes_on() -> None:
    with live() as terminal:
        port = terminal.port
        for strategy in ("maglev", "rendezvous", "round-robin"):
            terminal.type("s")
            terminal.wait_for_screen(rf"localhost:{port}  strategy {strategy} ")
            terminal.backend(1, r"up +pid \d+ +\S+ +[1-9]\d*%")
            terminal.wait_for_screen("light load on: ")
        terminal.type("q")
        assert terminal.ended() == 0
        assert " 0 turned away; light load: " in terminal.said_after()
        assert ", 0 errors" in terminal.said_after()


def test_it_can_be_quit_while_the_balancer_is_restarted() -> None:
    with live() as terminal:
        terminal.type("s")
        terminal.wait_for_screen("the balancer is restarted")
        terminal.type("q")
        assert terminal.ended() == 0


def test_open_connections_are_shown() -> None:
    with live("--no-load", "--strategy", "round-robin") as terminal:
        address = ("127.0.0.1", terminal.port)
        with socket.create_connection(address, WAIT) as one:
            echoed(one)
            terminal.backend(1, r"up .* 1 +0 *$")
            with socket.create_connection(address, WAIT) as other:
                echoed(other)
                terminal.backend(2, r"up .* 1 +0 *$")
        terminal.backend(1, r"up .* 0 +1 *$")
        terminal.backend(2, r"up .* 0 +1 *$")
        terminal.type("q")
        assert terminal.ended() == 0


def test_it_follows_the_size_of_the_terminal() -> None:
    with live() as terminal:
        assert len(terminal.screen()) == 24
        terminal.resize(120, 40)
        terminal.wait_for_screen(r"^.{111,} \d:\d\d$")
        assert len(terminal.screen()) == 40
        terminal.resize(50, 12)
        terminal.wait_for_screen(r"^ 1 127\.0\.0\.1:\d+ up +\d+% ")
        assert len(terminal.screen()) == 12
        terminal.type("q")
        assert terminal.ended() == 0


@pytest.mark.parametrize("key", ["\x03", "\x04", "Q"])
def test_it_can_be_quit_by_other_keys(key: str) -> None:
    with live() as terminal:
        terminal.type(key)  # ^C becomes a signal, as on any terminal
        assert terminal.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    with live() as terminal:
        terminal.signal(number)
        assert terminal.ended() == 0
        assert terminal.said_after().startswith("in all: ")


def test_it_ends_when_the_terminal_is_closed() -> None:
    with live() as terminal:
        terminal.close()
        assert terminal.process.wait(WAIT) == 0
        assert terminal.mark.processes() == {}


def test_it_ends_while_the_terminal_takes_no_output() -> None:
    with live() as terminal:
        terminal.stop_output()
        terminal.signal(signal.SIGTERM)
        assert terminal.process.wait(WAIT) == 0
        assert terminal.mark.processes() == {}
        assert terminal.settings() == terminal.settings_before


def test_it_ends_with_1_when_the_balancer_is_killed_and_says_so_after_the_view() -> None:
    with live() as terminal:
        os.kill(terminal.mark.pid_of(" serve "), signal.SIGKILL)
        assert terminal.ended() == 1
        assert "tcplb: the balancer ended by itself: killed by SIGKILL\r\n" in terminal.said_after()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with live("--port", str(taken)) as terminal:
            assert terminal.port != taken
            terminal.wait_for_screen(
                rf"port {taken} is in use, 127\.0\.0\.1:{terminal.port} is used instead"
            )
            terminal.type("q")
            assert terminal.ended() == 0


@pytest.mark.parametrize(("flags", "term"), [(("--plain",), "xterm"), ((), "dumb")])
def test_plain_lines_on_a_terminal(flags: tuple[str, ...], term: str) -> None:
    with Live(*flags, term=term) as terminal:
        terminal.wait_for(r"\^C stops everything\.")
        assert terminal.settings() == terminal.settings_before
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert terminal.mark.processes() == {}
        assert "\x1b" not in terminal.output
