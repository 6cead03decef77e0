"""The picture is well-formed, and shows what was measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from bench.picture import LEFT, MOST, UNIT, to_svg
from bench.report import Report, Row, make_report
from bench.results import Results
from bench.settings import Settings
from tests.bench.reports import report

SVG = "{http://www.w3.org/2000/svg}"


def draw(of: Report) -> ET.Element:
    return ET.fromstring(to_svg(of))  # noqa: S314 - our own text


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_it_is_svg_with_the_machine_in_it() -> None:
    root = draw(report())
    assert root.tag == f"{SVG}svg"
    assert any("Some <CPU> & more" in text for text in texts(root))


def test_a_bar_is_as_long_as_its_ratio() -> None:
    bars = [bar for bar in draw(report()).iter(f"{SVG}rect") if bar.get("class") == "ours"]
    assert [float(bar.get("width", "")) for bar in bars] == [1.5 * UNIT, 0.75 * UNIT]


def test_a_whisker_goes_from_the_smallest_to_the_largest() -> None:
    whiskers = [line for line in draw(report()).iter(f"{SVG}line") if line.get("class") != "one"]
    ours = whiskers[0]
    assert float(ours.get("x1", "")) == LEFT + 1.0 * UNIT
    assert float(ours.get("x2", "")) == LEFT + 2.0 * UNIT


def test_a_very_long_bar_is_cut_and_its_number_is_not() -> None:
    results = Results()
    results.add("connect", "haproxy", {"cpu": 10.0})
    results.add("connect", "naive", {"cpu": 1000.0})
    root = draw(replace(report(), rows=_rows(results)))
    assert max(float(bar.get("width", "")) for bar in _bars(root)) == MOST * UNIT
    assert any(text.startswith("100.00") for text in texts(root))


def test_nothing_measured_is_still_a_picture() -> None:
    assert draw(replace(report(), rows=[])).tag == f"{SVG}svg"


def _rows(results: Results) -> list[Row]:
    return make_report(results, Settings(), {}, {}).rows


def _bars(root: ET.Element) -> list[ET.Element]:
    return [bar for bar in root.iter(f"{SVG}rect") if bar.get("class") in {"ours", "other"}]
