"""The dashboard's modules that decide something, each by itself, in the browser they run in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Page

from tests.e2e.dashboard.page import MARKS
from tests.e2e.dashboard.stage import Stage, Watched, chromium

pytestmark = MARKS


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Stage() as stage, chromium() as browser:
        watched = Watched(browser, stage.url)
        watched.page.goto("/")
        yield watched.page
        watched.close()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("count(0)", "0"),
        ("count(1234)", "1,234"),
        ("count(999999)", "999,999"),
        ("count(5310000)", "5.31 M"),
        ("rate(0)", "0"),
        ("rate(0.44)", "0.4"),
        ("rate(4)", "4"),
        ("rate(9.96)", "10"),
        ("rate(NaN)", "–"),
        ("bytes(0)", "0 B"),
        ("bytes(999)", "999 B"),
        ("bytes(999.9)", "1.00 kB"),
        ("bytes(1234)", "1.23 kB"),
        ("bytes(12345678)", "12.3 MB"),
        ("bytes(999500)", "1.00 MB"),
        ("bytes(NaN)", "–"),
        ("latency(0.0000854)", "85 µs"),
        ("latency(0.0009996)", "1.00 ms"),
        ("latency(0.0123)", "12.3 ms"),
        ("latency(2.5)", "2.50 s"),
        ("latency(NaN)", "–"),
        ("duration(0)", "0 s"),
        ("duration(-3)", "0 s"),
        ("duration(59.6)", "1 min"),
        ("duration(320)", "5 min 20 s"),
        ("duration(3600)", "1 h"),
        ("duration(273600)", "3 d 4 h"),
        ("percent(0.2549)", "25.5 %"),
        ("percent(NaN)", "–"),
        ("plural(1, 'session')", "1 session"),
        ("plural(2000, 'session')", "2,000 sessions"),
    ],
)
def test_figures_read_well(page: Page, call: str, words: str) -> None:
    assert page.evaluate(f'import("/static/format.js").then((all) => all.{call})') == words


def parse(page: Page, pieces: list[str]) -> Any:
    return page.evaluate(
        """async (pieces) => {
          const { parser } = await import("/static/stream.js");
          const messages = [];
          const parse = parser((message) => messages.push(message));
          pieces.forEach(parse);
          return messages;
        }""",
        pieces,
    )


STREAM = ': a comment\n\nid: 7\ndata: {"a": 1}\n\ndata:two\r\ndata: lines\r\n\r\ndata: cut off'


def test_a_stream_is_read_whatever_its_pieces(page: Page) -> None:
    expected = ['{"a": 1}', "two\nlines"]

    assert parse(page, [STREAM]) == expected
    assert parse(page, list(STREAM)) == expected
    for cut in range(len(STREAM)):
        assert parse(page, [STREAM[:cut], STREAM[cut:]]) == expected


FAILING = """async () => {
  const { follow } = await import("/static/stream.js");
  const waits = [];
  const heard = [];
  let attempts = 0;
  window.fetch = async () => {
    attempts += 1;
    throw new TypeError("refused");
  };
  // Time stands still here: only `wake` ends a wait.
  window.setTimeout = (_, milliseconds) => waits.push(milliseconds);
  const wake = follow("/stream", { query: () => "", silence: 1, onMessage() {}, onUp() {},
      onDown: (why) => heard.push(why) });
  for (let round = 1; round <= 12; round += 1) {
    while (heard.length < round) await Promise.resolve();
    await Promise.resolve();
    wake();
  }
  return { attempts, heard, waits };
}"""


def test_a_stream_that_fails_is_asked_for_ever_more_rarely(page: Page) -> None:
    bare = page.context.new_page()
    bare.goto("/healthz")

    told = bare.evaluate(FAILING)

    assert told["attempts"] >= 12
    assert set(told["heard"]) == {"The balancer does not answer."}
    # Each attempt has a deadline, and after it there is a wait.
    assert set(told["waits"][0:24:2]) == {6_000}
    longest = [500, 1_000, 2_000, 4_000, 8_000] + [15_000] * 7
    for wait, most in zip(told["waits"][1:24:2], longest, strict=True):
        assert most / 2 <= wait <= most


def stats(at: float, connections: int, **more: Any) -> dict[str, Any]:
    backend = {
        "pool": "web",
        "name": "b1",
        "active": 3,
        "connections": connections,
        "connect_failures": connections // 10,
        "bytes_up": 0,
        "bytes_down": connections * 100,
        "connect_seconds": connections * 0.002,
    }
    return {
        "at": at,
        "active": 3,
        "accepted": connections,
        "turned_away": 0,
        "waiting": 0,
        "retries": 0,
        "backends": [backend],
    } | more


def history(page: Page, seconds: list[dict[str, Any]], what: str) -> Any:
    """The value of `what` after these statistics."""
    return page.evaluate(
        f"""async (seconds) => {{
          const {{ History }} = await import("/static/history.js");
          const history = new History();
          for (const each of seconds) history.add(each);
          return {what};
        }}""",
        seconds,
    )


def test_totals_become_rates(page: Page) -> None:
    seconds = [stats(10, 100), stats(12, 140)]
    series = "history.of('web', 'b1')"

    assert history(page, seconds, f"{series}.rate.last") == 20
    assert history(page, seconds, f"{series}.errors.last") == 2
    assert history(page, seconds, f"{series}.bytes.last") == 2_000
    assert history(page, seconds, f"{series}.latency.last") == pytest.approx(0.002)
    assert history(page, seconds, f"{series}.opened.sum") == 40
    assert history(page, seconds, "history.all.rate.last") == 20
    assert history(page, seconds, "history.all.errors.last") == 2
    assert history(page, seconds, "history.all.latency.last") == pytest.approx(0.002)


def test_totals_that_begin_anew_are_a_gap_and_no_peak(page: Page) -> None:
    seconds = [stats(10, 100), stats(11, 110), stats(12, 3), stats(13, 8)]

    points = history(page, seconds, "history.of('web', 'b1').rate.points().slice(-3)")

    assert points == [10, None, 5]


def test_a_second_without_a_connect_has_no_latency(page: Page) -> None:
    seconds = [stats(10, 100), stats(11, 100)]

    assert history(page, seconds, "history.all.latency.points().at(-1)") is None


def test_the_same_figures_once_more_are_passed_by(page: Page) -> None:
    seconds = [stats(10, 100), stats(11, 110), stats(11, 110)]

    assert history(page, seconds, "history.all.at.values().filter(Number.isFinite)") == [10, 11]


def test_a_clock_that_was_set_back_begins_anew(page: Page) -> None:
    seconds = [stats(10, 100), stats(11, 110), stats(9, 120), stats(10, 130)]

    assert history(page, seconds, "history.all.at.values().filter(Number.isFinite)") == [9, 10]
    assert history(page, seconds, "history.of('web', 'b1').rate.last") == 10


def test_a_backend_that_is_gone_is_forgotten(page: Page) -> None:
    seconds = [stats(10, 100), stats(11, 110), stats(12, 110, backends=[])]

    assert history(page, seconds, "history.of('web', 'b1') === undefined") is True


def test_only_the_last_minutes_are_kept(page: Page) -> None:
    seconds = [stats(at, at) for at in range(1, 402)]

    kept = history(page, seconds, "history.all.at.values()")

    assert kept == list(range(102, 402))


def test_events_of_another_process_end_the_past(page: Page) -> None:
    told = page.evaluate(
        """async () => {
          const { addEvent, state } = await import("/static/store.js");
          state.events = [];
          state.lastEvent = 0;
          for (const number of [1, 2, 1]) addEvent({ number, at: 0, kind: "server", text: "" });
          return [state.events.length, state.lastEvent];
        }"""
    )

    assert told == [1, 1]
