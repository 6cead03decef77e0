from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcplb.control.line_writer import LineWriter

WAIT = 20.0


class Reports:
    """Collects what a writer reports, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, message: str) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait_for(self, text: str) -> str:
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(text in message for message in self.messages), WAIT
            ), self.messages
            return next(message for message in self.messages if text in message)


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; the writing end belongs to the writer under test."""
    reading, writing = os.pipe()
    yield reading, writing
    with contextlib.suppress(OSError):
        os.close(reading)


def appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)


def file_writer(path: Path, reports: Reports, gather: float = 0.0) -> LineWriter:
    return LineWriter("the log", lambda: appending(path), gather=gather, report=reports)


def test_all_lines_are_written_in_order_by_the_time_it_is_closed(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "log"
    writer = file_writer(path, reports, gather=0.01)
    expected = [f"line {number}" for number in range(5000)]
    for line in expected:
        writer.write(line)
    writer.close(WAIT)
    assert path.read_text().splitlines() == expected
    assert writer.lost == 0
    assert reports.messages == []


def test_lines_come_without_a_close(pipe: tuple[int, int], reports: Reports) -> None:
    reading, writing = pipe
    writer = LineWriter("the log", lambda: writing, gather=0.01, report=reports)
    writer.write("one")
    assert os.read(reading, 100) == b"one\n"
    writer.write("two")
    assert os.read(reading, 100) == b"two\n"
    writer.close(WAIT)


def test_an_open_error_is_raised_to_whoever_makes_the_writer(
    tmp_path: Path, reports: Reports
) -> None:
    with pytest.raises(FileNotFoundError):
        file_writer(tmp_path / "no" / "such", reports)


def test_reopening_goes_on_with_the_new_target(reports: Reports) -> None:
    (old_reading, old_writing), (new_reading, new_writing) = os.pipe(), os.pipe()
    targets = iter([old_writing, new_writing])
    writer = LineWriter("the log", lambda: next(targets), gather=0.0, report=reports)
    writer.write("before")
    assert os.read(old_reading, 100) == b"before\n"
    writer.reopen()
    writer.write("after")
    assert os.read(new_reading, 100) == b"after\n"
    assert os.read(old_reading, 100) == b""  # closed
    writer.close(WAIT)
    assert os.read(new_reading, 100) == b""
    os.close(old_reading)
    os.close(new_reading)


def test_a_reopen_that_fails_keeps_the_old_file(tmp_path: Path, reports: Reports) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    writer = file_writer(folder / "log", reports)
    folder.rename(tmp_path / "moved")
    writer.reopen()
    assert "cannot reopen the log: No such file" in reports.wait_for("cannot reopen")
    writer.write("still here")
    writer.close(WAIT)
    assert (tmp_path / "moved" / "log").read_text() == "still here\n"


def test_a_reader_that_goes_away_is_reported_once(pipe: tuple[int, int], reports: Reports) -> None:
    reading, writing = pipe
    writer = LineWriter("the log", lambda: writing, gather=0.0, report=reports)
    os.close(reading)
    writer.write("lost")
    reports.wait_for("nobody reads the log any more")
    writer.write("lost too")
    writer.close(WAIT)
    assert writer.lost == 2
    assert len(reports.messages) == 1


def test_a_full_non_blocking_pipe_loses_nothing(pipe: tuple[int, int], reports: Reports) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter("the log", lambda: writing, gather=0.0, report=reports)
    lines = [f"{number:01000}" for number in range(300)]
    for line in lines:
        writer.write(line)
    got = b""
    while len(got) < 300 * 1001:
        got += os.read(reading, 65536)
    assert got.decode().splitlines() == lines
    writer.close(WAIT)
    assert writer.lost == 0


def test_what_a_full_disk_does_not_take_is_written_when_it_does(
    tmp_path: Path, reports: Reports
) -> None:
    path = tmp_path / "log"
    targets = iter([Path("/dev/full"), path])
    writer = LineWriter("the log", lambda: appending(next(targets)), gather=0.0, report=reports)
    writer.write("one")
    reports.wait_for("cannot write the log: No space left on device")
    writer.reopen()  # an operator has made room, or another place
    writer.write("two")
    assert "can be written again; 0 lines were lost" in reports.wait_for("again")
    writer.close(WAIT)
    assert path.read_text() == "one\ntwo\n"


def test_lines_past_the_bound_are_counted_as_lost(reports: Reports) -> None:
    writer = LineWriter(
        "the log",
        lambda: appending(Path("/dev/full")),
        gather=0.0,
        report=reports,
        max_waiting=3,
    )
    writer.write("1")
    reports.wait_for("cannot write")
    for line in "2345":
        writer.write(line)
    writer.close(WAIT)
    assert writer.lost == 5  # two did not fit, three could not be written to the end


def test_closing_waits_no_longer_than_it_is_told(pipe: tuple[int, int], reports: Reports) -> None:
    reading, writing = pipe
    writer = LineWriter("the log", lambda: writing, gather=0.0, report=reports)
    writer.write("x" * 1_000_000)  # more than the pipe takes, and nobody reads
    writer.close(0.05)
    assert writer.lost == 1
    while len(os.read(reading, 65536)) == 65536:  # let the thread go
        pass


def test_a_line_that_comes_just_before_the_end_is_written(tmp_path: Path, reports: Reports) -> None:
    path = tmp_path / "log"
    reopening, go_on = threading.Event(), threading.Event()

    def open_target() -> int:
        if path.exists():  # the second time, in the thread, after its last look at the lines
            reopening.set()
            assert go_on.wait(WAIT)
        return appending(path)

    writer = LineWriter("the log", open_target, gather=0.0, report=reports)
    writer.reopen()
    assert reopening.wait(WAIT)
    writer.write("the last line")
    writer.close(0.0)  # tells the thread to end, and does not wait
    go_on.set()
    writer.close(WAIT)
    assert path.read_text() == "the last line\n"
