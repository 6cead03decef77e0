from __future__ import annotations

import json
import signal

from tests.cli.ctl.balancer import Balancer, unused_address
from tests.cli.invoke import invoke
from tests.control.admin.fake import FakeControl
from tests.control.admin.scripted import Scripted, http, stream
from tests.processes import Running, tcplb


def happen(balancer: Balancer, *texts: str) -> None:
    def events(control: FakeControl) -> None:
        for text in texts:
            control.event("health", text, "web", "b1")

    balancer.do(events)


def test_what_has_happened(balancer: Balancer) -> None:
    happen(balancer, "b1 is \x1b[31m down")
    first, second = balancer.says("events").splitlines()
    assert first.startswith("    1  2023-11-1")
    assert first.endswith("  server    tcplb is serving")
    assert second.endswith("  health    b1 is \\x1b[31m down")


def test_only_what_is_new(balancer: Balancer) -> None:
    happen(balancer, "one", "two")
    assert balancer.says("events", "--after", "2").endswith("two\n")
    assert "one" not in balancer.says("events", "--after", "2")
    assert balancer.says("events", "--after", "99") == ""


def test_as_json(balancer: Balancer) -> None:
    happen(balancer, "one")
    found = json.loads(balancer.says("events", "--format", "json"))["events"]
    assert [event["number"] for event in found] == [1, 2]


def test_a_number_that_is_none(balancer: Balancer) -> None:
    assert "--after" in balancer.fails("events", "--after", "-1", code=2)


def follow(balancer: Balancer, *options: str) -> Running:
    return tcplb("ctl", "events", "--follow", *options, environment=balancer.environment)


def test_follow(balancer: Balancer) -> None:
    with follow(balancer) as running:
        running.wait_for("tcplb is serving")
        happen(balancer, "one")
        running.wait_for("one$")
        happen(balancer, "two", "three")
        running.wait_for("three$")
        numbers = [line.split()[0] for line in running.lines]
        running.signal(signal.SIGINT)
        assert running.wait() == 130
    assert numbers == ["1", "2", "3", "4"]
    assert "Traceback" not in running.output
    assert "Aborted" not in running.output


def test_follow_as_lines_of_json(balancer: Balancer) -> None:
    with follow(balancer, "--after", "1", "--format", "json") as running:
        happen(balancer, "one")
        running.wait_for("one")
        assert [json.loads(line)["number"] for line in running.lines] == [2]


def test_follow_goes_on_after_a_restart_of_the_admin_port(balancer: Balancer) -> None:
    with follow(balancer) as running:
        running.wait_for("tcplb is serving")
        happen(balancer, "one")
        running.wait_for("one$")
        balancer.stop()
        running.wait_for(r"^tcplb: .*trying again \(5 left\)")
        happen(balancer, "meanwhile")
        balancer.start()
        running.wait_for("meanwhile$")
        happen(balancer, "later")
        running.wait_for("later$")
        shown = [line.split()[0] for line in running.lines if not line.startswith("tcplb:")]
    assert shown == ["1", "2", "3", "4"]


def test_follow_gives_up() -> None:
    with Scripted(http(200, '{"events": []}'), stream()) as server:
        result = invoke("ctl", "--admin", server.address, "events", "--follow")
    assert result.exit_code == 1
    *lost, last = result.stderr.splitlines()
    assert len(lost) == 5
    assert last.endswith("was lost; gave up after 5 attempts")
    assert [server.header("Last-Event-ID", n) for n in (1, -1)] == ["0", "0"]


def test_nobody_to_follow() -> None:
    result = invoke("ctl", "--admin", unused_address(), "events", "--follow")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
