from __future__ import annotations

import socket
from pathlib import Path

from tcplb.control.doctor.examination import examine
from tcplb.control.doctor.finding import Level
from tcplb.control.doctor.machine import Machine
from tests.control.doctor.machines import config, machine, one, over

CHECKS = [
    "python",
    "uvloop",
    "engine",
    "workers",
    "open files",
    "fs.nr_open",
    "fs.file-max",
    "fs.pipe-user-pages-soft",
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_migrate_req",
    "connection tracking",
]


def test_on_a_machine_that_shows_nothing_it_tells_what_it_can(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        backend = "127.0.0.1:{1}".format(*server.getsockname())
        settings = config(**over(backend), listeners=[{"bind": "127.0.0.1:0"}])
        findings = examine(settings, machine(tmp_path), None)
    assert [finding.check for finding in findings] == [
        *CHECKS,
        "net.ipv4.ip_local_port_range",
        "clock",
        "settings file",
        "access log",
        "listener default",
        f"backend default/{backend}",
    ]
    unknown = {finding.check for finding in findings if finding.level is Level.UNKNOWN}
    assert unknown - {"clock"} == {
        "fs.nr_open",
        "fs.file-max",
        "fs.pipe-user-pages-soft",
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.tcp_migrate_req",
        "net.ipv4.ip_local_port_range",
    }
    assert not any(finding.level is Level.PROBLEM for finding in findings)


def test_on_this_machine_every_finding_is_a_sentence_and_says_what_to_do() -> None:
    settings = config(listeners=[{"bind": "127.0.0.1:0"}], workers="auto")
    for finding in examine(settings, Machine.this(), None):
        assert finding.what.isprintable()
        assert finding.what
        assert not finding.what.endswith(".")
        if finding.level in (Level.WARNING, Level.PROBLEM):
            assert finding.todo


def test_auto_workers_are_as_many_as_processors(tmp_path: Path) -> None:
    settings = config(listeners=[{"bind": "127.0.0.1:0"}], workers="auto")
    findings = examine(settings, machine(tmp_path, processors=7), None)
    assert one(findings, "workers").what == "workers: 7, processors: 7"
