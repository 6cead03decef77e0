from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tcplb.control.application_log import LogFormat
from tcplb.control.logs import Logs
from tcplb.dataplane.record import Record, to_json, to_tcplog
from tcplb.errors import LogFileError
from tests.processes import WAIT
from tests.records import RECORD

FORMATS: list[LogFormat] = ["text", "json"]
NASTY = "a\nb\rc\x1b[31md\x00e\x7ff\x9bg\th"
CONTROL = [*range(32), *range(127, 160)]

log = logging.getLogger("tcplb.test")

Capture = pytest.CaptureFixture[str]


def record(port: int = 1234) -> Record:
    return replace(RECORD, client_port=port, key=b"/\x1b[31m\n")


def put(logs: Logs, written: Record) -> None:
    assert logs.record is not None
    logs.record(written)


@pytest.fixture(autouse=True)
def _root_logger_is_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    assert (root.handlers, root.level) == before
    assert [thread for thread in threading.enumerate() if thread.name.startswith("write ")] == []


def application_log(capture: Capture) -> list[str]:
    return capture.readouterr().err.splitlines()


# -- the application log ----------------------------------------------------------------------


def test_a_line_of_text_has_time_level_logger_and_message(capfd: Capture) -> None:
    with Logs("none", "text", "info"):
        log.warning("%d lost", 3)
    (line,) = application_log(capfd)
    time, _, rest = line.partition("Z ")
    assert rest == "warning tcplb.test: 3 lost"
    assert len(time) == len("2026-11-22T14:03:07.123")


def test_a_line_of_json_has_the_same(capfd: Capture) -> None:
    with Logs("none", "json", "info"):
        log.warning("%d lost", 3)
    (line,) = application_log(capfd)
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {"level": "warning", "logger": "tcplb.test", "message": "3 lost"}


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_message_is_one_line_whatever_is_in_it(capfd: Capture, log_format: LogFormat) -> None:
    with Logs("none", log_format, "info"):
        log.info("got %s", NASTY)
        log.info("and %s", "".join(map(chr, CONTROL)))
    text = capfd.readouterr().err
    assert text.count("\n") == 2
    assert all(ord(char) not in CONTROL for char in text.replace("\n", ""))


def test_what_json_escapes_can_be_read_back(capfd: Capture) -> None:
    with Logs("none", "json", "info"):
        log.info("%s", NASTY)
    assert json.loads(capfd.readouterr().err)["message"] == NASTY


def test_what_text_escapes_can_be_recognised(capfd: Capture) -> None:
    with Logs("none", "text", "info"):
        log.info("%s", NASTY)
    assert r": a\x0ab\x0dc\x1b[31md\x00e\x7ff\x9bg\x09h" in capfd.readouterr().err


NO_UTF_8 = """
import logging, os
from tcplb.control.logs import Logs
with Logs("none", "text", "info"):
    logging.getLogger("tcplb.test").info("%s", os.fsdecode(bytes([255])))
"""


def test_text_that_is_no_utf_8_is_escaped() -> None:
    # In a process of its own: the record itself could not go from one of pytest's to another.
    done = subprocess.run(
        [sys.executable, "-c", NO_UTF_8], capture_output=True, text=True, timeout=WAIT, check=True
    )
    assert done.stderr.endswith(": \\udcff\n")


def choke(text: str) -> None:
    raise ValueError(f"bad input {text}\n2026-01-01T00:00:00.000Z error forged")


def fail_in_a_request() -> None:
    try:
        choke(NASTY)
    except ValueError:
        log.exception("internal error")


def test_a_traceback_in_text_keeps_its_lines_but_none_can_pass_for_a_line_of_the_log(
    capfd: Capture,
) -> None:
    with Logs("none", "text", "info"):
        fail_in_a_request()
    text = capfd.readouterr().err
    first, *traceback = text.splitlines()
    assert first.endswith("error   tcplb.test: internal error")
    assert traceback[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in traceback)
    assert any("ValueError: bad input a" in line for line in traceback)
    assert "\x1b" not in text


def test_a_traceback_in_json_is_a_field(capfd: Capture) -> None:
    with Logs("none", "json", "info"):
        fail_in_a_request()
    fields = json.loads(capfd.readouterr().err)
    assert fields["message"] == "internal error"
    assert fields["traceback"].startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize("log_format", FORMATS)
def test_there_is_no_traceback_without_one(capfd: Capture, log_format: LogFormat) -> None:
    with Logs("none", log_format, "info"):
        log.error("just an error")
    assert "raceback" not in capfd.readouterr().err


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_less_severe_messages_than_the_level_are_left_out(capfd: Capture, level: str) -> None:
    names = ["debug", "info", "warning", "error"]
    with Logs("none", "text", level):
        for name in names:
            log.log(logging.getLevelNamesMapping()[name.upper()], "said")
    assert [line.split()[1] for line in application_log(capfd)] == names[names.index(level) :]


def test_every_line_is_written_by_the_end(capfd: Capture) -> None:
    with Logs("none", "text", "info"):
        for number in range(5000):
            log.info("line %d", number)
    assert [line.rpartition(" ")[2] for line in application_log(capfd)] == [
        str(number) for number in range(5000)
    ]


# -- the access log ---------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", FORMATS)
def test_records_go_to_stdout_by_a_dash(capfd: Capture, log_format: LogFormat) -> None:
    with Logs("-", log_format, "info") as logs:
        put(logs, record())
    form = to_json if log_format == "json" else to_tcplog
    assert capfd.readouterr() == (f"{form(record())}\n", "")


def test_records_go_nowhere_with_none(capfd: Capture) -> None:
    with Logs("none", "text", "info") as logs:
        assert logs.record is None
        logs.reopen()
    assert capfd.readouterr() == ("", "")


def test_records_are_appended_to_a_file(tmp_path: Path, capfd: Capture) -> None:
    file = tmp_path / "access.log"
    file.write_text("an earlier line\n")
    for port in (1, 2):
        with Logs(str(file), "text", "info") as logs:
            put(logs, record(port))
    assert file.read_text().splitlines() == [
        "an earlier line",
        to_tcplog(record(1)),
        to_tcplog(record(2)),
    ]
    assert capfd.readouterr() == ("", "")


def test_a_new_file_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    mask = os.umask(0)
    try:
        with Logs(str(file), "text", "info"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("path", "reason"),
    [("no/such/access.log", "No such file or directory"), (".", "Is a directory")],
)
def test_a_file_that_cannot_be_opened_is_told_and_nothing_stays_set_up(
    tmp_path: Path, path: str, reason: str
) -> None:
    file = tmp_path / path
    with pytest.raises(LogFileError) as caught, Logs(str(file), "text", "debug"):
        pass
    assert str(caught.value) == f"cannot open the access log {file}: {reason}"


def test_after_a_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    file, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    with Logs(str(file), "text", "info") as logs:
        file.rename(rotated)
        logs.reopen()
        put(logs, record())
    assert file.read_text() == f"{to_tcplog(record())}\n"
    assert rotated.read_text() == ""


def test_a_reopen_that_fails_is_told_in_the_application_log(tmp_path: Path, capfd: Capture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with Logs(str(folder / "access.log"), "text", "info") as logs:
        folder.rename(tmp_path / "moved")
        logs.reopen()
        put(logs, record())
    assert (tmp_path / "moved" / "access.log").read_text() == f"{to_tcplog(record())}\n"
    (line,) = application_log(capfd)
    assert "cannot reopen the access log" in line
    assert "the old one stays in use" in line


def test_lines_that_were_lost_are_counted_at_the_end(capfd: Capture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Logs("/dev/full", "text", "info") as logs:
        for _ in range(3):
            put(logs, record())
    assert application_log(capfd)[-1].endswith("error   tcplb.log: the access log lost 3 lines")
