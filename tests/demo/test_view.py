from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tcplb.demo.state import Health, Noted, Picture, Row
from tcplb.demo.view import screen

EVENTS = tuple(Noted(1e9 + number, f"event number {number}", "info") for number in range(50))
ROWS = (
    Row(1, "127.0.0.1:18081", Health.UP, "pid 4194301", 0.25, 9.8, 0, 110),
    Row(2, "127.0.0.1:18082", Health.EJECTED, "gone, trial in 5 s", 0.0, 0.0, 0, 34),
    Row(3, "127.0.0.1:18083", Health.DOWN, "gone", 0.0, 0.0, 12, 200_000),
    Row(4, "127.0.0.1:18084", Health.UP, "not our process", 0.75, 12345.6, 3, 99_999),
)
PICTURE = Picture(
    url="http://localhost:19090",
    strategy="least-connections",
    running=754.2,
    rows=ROWS,
    connections=300_143,
    retried=7,
    failed=0,
    load_on=True,
    load_answered=299_000,
    load_errors=0,
    events=EVENTS,
)


def drawn(picture: Picture, width: int = 80, height: int = 24) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=False)
    console.print(screen(picture, width=width, height=height))
    return file.getvalue().removesuffix("\n").split("\n")


def test_all_of_it_fits_80_columns_and_24_lines() -> None:
    lines = drawn(PICTURE)
    assert len(lines) == 24
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    assert "http://localhost:19090  strategy least-connections" in lines[0]
    assert lines[0].endswith("12:34")
    assert "1-4  kill or revive   s  strategy   l  load   q  quit" in lines[-1]
    assert "curl -x http://localhost:19090 http://any.name/hello" in text
    assert [line.split()[:4] for line in lines[2:6]] == [
        ["1", "127.0.0.1:18081", "up", "pid"],
        ["2", "127.0.0.1:18082", "ejected", "gone,"],
        ["3", "127.0.0.1:18083", "down", "gone"],
        ["4", "127.0.0.1:18084", "up", "not"],
    ]
    assert lines[5].split()[-4:] == ["75%", "12345.6", "3", "99999"]
    assert "300143 connections, 7 sent on to another, 0 turned away" in text
    assert "light load on: 299000 answered, 0 errors" in text


def test_the_last_events_are_shown_as_far_as_there_is_room() -> None:
    for height in (24, 40):
        lines = drawn(PICTURE, height=height)
        (first,) = (number for number, line in enumerate(lines) if line.strip() == "events")
        shown = [line[10:] for line in lines[first + 1 :] if "event number" in line]
        assert shown == [noted.text for noted in EVENTS[-len(shown) :]]
        assert len(shown) == height - 13


def test_a_few_events_leave_the_keys_at_the_bottom() -> None:
    lines = drawn(replace(PICTURE, events=EVENTS[:2]))
    assert len(lines) == 24
    assert "quit" in lines[-1]


def test_a_long_event_is_folded_and_its_end_is_seen() -> None:
    text = "backend 127.0.0.1:8083 ejected for 4.6 s: 3 connects in a row failed, " + "why " * 20
    lines = drawn(replace(PICTURE, events=(*EVENTS, Noted(1e9, text + "END", "warning"))))
    assert any(line.endswith("END") for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [30, 40, 60, 77, 78, 80, 120, 200])
@pytest.mark.parametrize("height", [8, 9, 12, 16, 21, 22, 23, 50])
def test_it_never_outgrows_a_terminal_that_has_room_for_the_backends(
    width: int, height: int
) -> None:
    lines = drawn(PICTURE, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) == max(height, 9)
    assert lines[-1].startswith(" 1-4 ")
    assert "up" in lines[2]


def test_words_of_others_are_not_taken_for_markup() -> None:
    noted = Noted(1e9, "[red]hello[/] :smile: [link=x]", "error")
    assert any(noted.text in line for line in drawn(replace(PICTURE, events=(noted,))))
