from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from tcplb.cli.main import main
from tcplb.dataplane.termination import Termination
from tests.contrib.expressions import known_metrics, selectors, unknown
from tests.contrib.files import CONTRIB, TOP, needs, replaced, run

FOLDER = CONTRIB / "prometheus"
RULES = FOLDER / "alerts.yml"
TESTS = [FOLDER / "alerts_test.yml", FOLDER / "alerts_day_test.yml"]
RUNBOOK = TOP / "docs" / "runbook.md"
METRICS = TOP / "docs" / "metrics.md"
NOT_OURS = {"up"}
FIELD = r"^ +{name}: (?:>-\n((?: {{10,}}.*\n)+)|(.*)\n)"


@dataclass
class Alert:
    name: str
    text: str

    def field(self, name: str) -> str:
        """What the rule has under this key, in one line."""
        match = re.search(FIELD.format(name=name), self.text, re.MULTILINE)
        assert match is not None, f"{self.name} has no {name}"
        return " ".join((match[1] or match[2]).split()).strip('"')


def alerts() -> list[Alert]:
    parts = re.split(r"^ +- alert: (\w+)\n", RULES.read_text(), flags=re.MULTILINE)
    return [Alert(name, text) for name, text in zip(parts[1::2], parts[2::2], strict=True)]


ALERTS = alerts()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    return known_metrics(tmp_path_factory.mktemp("metrics"))


@needs("promtool")
def test_promtool_understands_the_rules() -> None:
    done = run("promtool", "check", "rules", RULES)
    assert done.returncode == 0, done.stdout
    assert f"SUCCESS: {len(ALERTS)} rules found" in done.stdout


@needs("promtool")
def test_the_rules_do_what_their_tests_say() -> None:
    done = run("promtool", "test", "rules", *TESTS)
    assert done.returncode == 0, done.stdout


@needs("promtool")
def test_a_rule_that_never_fires_fails_the_tests(tmp_path: Path) -> None:
    """So that nothing is wrong with how they are tested."""
    broken = replaced(RULES.read_text(), never=("usable_backends == 0", "usable_backends < 0"))
    (tmp_path / RULES.name).write_text(broken)
    (tmp_path / "test.yml").write_text(TESTS[0].read_text())
    done = run("promtool", "test", "rules", tmp_path / "test.yml")
    assert done.returncode != 0
    assert "TcplbPoolDown" in done.stdout


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_fires_in_a_test_and_is_quiet_in_another(alert: Alert) -> None:
    text = "".join(file.read_text() for file in TESTS)
    assert re.search(rf"alertname: {alert.name}\n +exp_alerts:", text)
    assert re.search(rf"alertname: {alert.name}}}\n", text)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_says_what_it_is_and_what_to_do(alert: Alert) -> None:
    assert alert.name.startswith("Tcplb")
    assert alert.field("labels") in {
        "{severity: critical}",
        "{severity: warning}",
        "{severity: info}",
    }
    assert alert.field("summary")
    assert alert.field("description").endswith(".")
    assert alert.field("runbook_url") == f"docs/runbook.md#alert-{alert.name.lower()}"


def test_each_asks_for_metrics_that_there_are(known: dict[str, set[str]]) -> None:
    expressions = [alert.field("expr") for alert in ALERTS]
    assert unknown(expressions, known) == []
    for expression in expressions:
        assert list(selectors(expression)), expression
        others = set(re.findall(r"\b([a-z_]+)\b(?= [=<>]= )", expression))
        assert {name for name in others if not name.startswith("tcplb_")} <= NOT_OURS


def test_texts_name_labels_that_the_metrics_have(known: dict[str, set[str]]) -> None:
    for alert in ALERTS:
        asked = [known[name] for name, _ in selectors(alert.field("expr"))]
        named = set(re.findall(r"\$labels\.(\w+)", alert.text))
        assert named <= set().union(*asked) | {"job", "instance"}, alert.name


# -- the runbook ------------------------------------------------------------------------------


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.findall(r"^### Alert (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sections == [alert.name for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_section_says_what_it_means_what_to_look_at_and_what_to_do(alert: Alert) -> None:
    section = RUNBOOK.read_text().partition(f"### Alert {alert.name}\n")[2].partition("\n##")[0]
    assert re.findall(r"^\*\*(.*?)\.\*\*", section, re.MULTILINE) == ["Means", "Look at", "Do"]


def test_the_table_of_terminations_has_each_one_in_the_words_of_the_log() -> None:
    rows = re.findall(r"^\| `(..)` \| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$",
                      RUNBOOK.read_text(), re.MULTILINE)  # fmt: skip
    assert [(code, name, words) for code, name, words, _, _ in rows] == [
        (each.code, each.name.lower(), each.reason) for each in Termination
    ]
    blamed = {blame for _, _, _, blame, _ in rows}
    assert blamed <= {"nobody", "client", "backend", "configuration", "capacity", "operator", "bug"}


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


@pytest.mark.parametrize("page", [RUNBOOK, METRICS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text())
    assert links
    for file, anchor in links:
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), anchor


def test_every_command_in_the_runbook_exists() -> None:
    text = RUNBOOK.read_text()
    commands = re.findall(r"`(tcplb [^`]*)`", text) + re.findall(
        r"^(tcplb [^#\n]*)", text, re.MULTILINE
    )
    assert len(commands) > 10
    for line in commands:
        command: click.Command = main
        for word in line.split()[1:]:
            if word.startswith("--"):
                assert any(word in parameter.opts for parameter in command.params), line
            elif isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                assert found is not None, line
                command = found
