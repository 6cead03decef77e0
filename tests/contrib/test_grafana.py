from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.contrib.expressions import known_metrics, selectors, unknown
from tests.contrib.files import CONTRIB, needs, run

DASHBOARD: dict[str, Any] = json.loads((CONTRIB / "grafana" / "tcplb.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
ROWS = ["Traffic", "Backends", "Latency", "Queues", "Health", "Process"]
BUILT_IN = {"__rate_interval"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    return known_metrics(tmp_path_factory.mktemp("metrics"))


def expressions() -> Iterator[str]:
    for panel in CHARTS:
        for target in panel["targets"]:
            yield target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]


def variables() -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def test_it_is_of_a_schema_that_grafana_10_reads() -> None:
    assert 38 <= DASHBOARD["schemaVersion"] <= 39
    assert DASHBOARD["title"] == "tcplb"
    assert DASHBOARD["uid"]
    assert "id" not in DASHBOARD  # that is Grafana's own


def test_the_rows_are_there_and_none_is_empty() -> None:
    titles = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert titles == ROWS
    kinds = [panel["type"] for panel in PANELS]
    assert ("row", "row") not in list(zip(kinds, [*kinds[1:], "row"], strict=True))


def test_no_panel_has_the_place_or_the_number_of_another_one() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_the_data_source_is_a_variable_everywhere() -> None:
    assert variables()["datasource"]["type"] == "datasource"
    for panel in CHARTS:
        assert panel["datasource"] == DATASOURCE
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
    queries = [each for each in variables().values() if each["type"] == "query"]
    assert {each["name"] for each in queries} == {"instance", "listener", "pool", "backend"}
    for each in (*queries, *DASHBOARD["annotations"]["list"]):
        assert each["datasource"] == DATASOURCE


def test_all_of_a_variable_is_also_what_has_no_such_label() -> None:
    """Connections that got no backend have an empty one."""
    for each in variables().values():
        if each["type"] == "query":
            assert (each["includeAll"], each["multi"], each["allValue"]) == (True, True, ".*")


def test_variables_that_are_used_exist_and_those_that_exist_are_used() -> None:
    used = {name for each in expressions() for name in re.findall(r"\$(\w+)", each)}
    assert used - BUILT_IN == set(variables()) - {"datasource"}


def test_every_expression_asks_for_metrics_that_there_are(known: dict[str, set[str]]) -> None:
    queries = [each["query"]["query"] for each in variables().values() if each["type"] == "query"]
    assert unknown([*expressions(), *queries], known) == []
    assert all("tcplb_" in each for each in (*expressions(), *queries))
    for query in queries:
        match = re.fullmatch(r"label_values\((tcplb_\w+)(?:\{.*\})?, (\w+)\)", query)
        assert match is not None
        assert match[2] in known[match[1]] | {"instance"}


def test_every_metric_that_there_is_can_be_seen(known: dict[str, set[str]]) -> None:
    seen = {name for each in expressions() for name, _ in selectors(each)}
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in seen}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in known} == families


def test_legends_name_labels_that_the_expression_leaves() -> None:
    for panel in CHARTS:
        for target in panel["targets"]:
            aggregated = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            if aggregated:
                assert named <= set(re.split(r",\s*", aggregated[0])), panel["title"]


@needs("promtool")
def test_every_expression_can_be_parsed(tmp_path: Path) -> None:
    parsed = [each.replace("$__rate_interval", "5m") for each in expressions()]
    assert len(parsed) > 40
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(parsed)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = run("promtool", "check", "rules", file)
    assert done.returncode == 0, done.stdout
    assert f"{len(parsed)} rules found" in done.stdout
