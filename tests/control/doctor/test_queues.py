from __future__ import annotations

from pathlib import Path

import pytest

from tcplb.control.doctor.finding import Finding, Level
from tcplb.control.doctor.queues import check_queues
from tests.control.doctor.machines import config, judged, machine, one

SYN, COOKIES = "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies"
MOST, COUNT = "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count"
NO_TODO = (Level.OK, "")


def found(root: Path, check: str, settings: dict[str, object], wanted: int | str) -> Finding:
    settings_of_limits = config(limits={"max_connections": wanted})
    return one(check_queues(settings_of_limits, machine(root, settings)), check)


@pytest.mark.parametrize(
    ("check", "settings", "judgement"),
    [
        ("net.core.somaxconn", {"net.core.somaxconn": 4096}, NO_TODO),
        (
            "net.core.somaxconn",
            {"net.core.somaxconn": 4095},
            (Level.WARNING, "sysctl -w net.core.somaxconn=65535"),
        ),
        (SYN, {SYN: 128, COOKIES: 1}, NO_TODO),
        (SYN, {SYN: 128, COOKIES: 2}, NO_TODO),
        (SYN, {SYN: 1024, COOKIES: 0}, NO_TODO),
        (SYN, {SYN: 1023, COOKIES: 0}, (Level.WARNING, f"sysctl -w {COOKIES}=1")),
        (SYN, {SYN: 128}, (Level.UNKNOWN, "")),
        ("net.ipv4.tcp_migrate_req", {"net.ipv4.tcp_migrate_req": 1}, NO_TODO),
        (
            "net.ipv4.tcp_migrate_req",
            {"net.ipv4.tcp_migrate_req": 0},
            (Level.WARNING, "sysctl -w net.ipv4.tcp_migrate_req=1"),
        ),
    ],
)
def test_a_setting_of_the_kernel(
    tmp_path: Path, check: str, settings: dict[str, object], judgement: tuple[Level, str]
) -> None:
    assert judged(found(tmp_path, check, settings, "auto")) == judgement


@pytest.mark.parametrize(
    ("count", "wanted", "judgement"),
    [
        (0, "auto", NO_TODO),
        (799, "auto", NO_TODO),
        (800, "auto", (Level.WARNING, f"sysctl -w {MOST}=2000")),
        (949, "auto", (Level.WARNING, f"sysctl -w {MOST}=2000")),
        (950, "auto", (Level.PROBLEM, f"sysctl -w {MOST}=2000")),
        (0, 500, NO_TODO),
        (0, 501, (Level.WARNING, f"sysctl -w {MOST}=2004")),
    ],
)
def test_the_table_of_tracked_connections(
    tmp_path: Path, count: int, wanted: int | str, judgement: tuple[Level, str]
) -> None:
    settings: dict[str, object] = {MOST: 1000, COUNT: count}
    assert judged(found(tmp_path, "connection tracking", settings, wanted)) == judgement


def test_without_tracking_all_is_well(tmp_path: Path) -> None:
    assert judged(found(tmp_path, "connection tracking", {}, "auto")) == NO_TODO


def test_of_what_is_not_there_nothing_can_be_told(tmp_path: Path) -> None:
    findings = list(check_queues(config(), machine(tmp_path)))
    assert [finding.level for finding in findings] == [Level.UNKNOWN] * 3 + [Level.OK]
