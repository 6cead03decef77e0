from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcplb.control.doctor.finding import Finding, Level
from tcplb.control.doctor.ports import check_ports
from tests.control.doctor.machines import config, judged, machine, one, over

RANGE = "net.ipv4.ip_local_port_range"
REUSE = "net.ipv4.tcp_tw_reuse"
RESERVED = "net.ipv4.ip_local_reserved_ports"
FINE = (Level.OK, "")
WIDEN = (Level.WARNING, f'sysctl -w {RANGE}="1024 65535"')


def found(root: Path, check: str, ports: str, tables: Any = None, **kernel: object) -> Finding:
    names = {"reuse": REUSE, "reserved": RESERVED}
    made = machine(root, {RANGE: ports} | {names[key]: value for key, value in kernel.items()})
    return one(check_ports(config(**tables or over("10.0.0.1:80")), made), check)


def many(count: int, **limits: Any) -> dict[str, Any]:
    addresses = (f"10.0.0.{number}:80" for number in range(1, count + 1))
    return over(*addresses) | {"limits": limits}


@pytest.mark.parametrize(
    ("ports", "tables", "judgement"),
    [
        ("32768\t60999", many(1), FINE),
        ("50000\t59999", many(1), FINE),
        ("50001\t59999", many(1), WIDEN),
        ("32768\t60999", many(1, max_connections=28232), FINE),
        ("32768\t60999", many(1, max_connections=28233), WIDEN),
        ("32768\t60999", many(2, max_connections=56464), FINE),
        ("32768\t60999", many(2, max_connections=56465), WIDEN),
    ],
)
def test_how_many_connections_one_address_can_have(
    tmp_path: Path, ports: str, tables: dict[str, Any], judgement: tuple[Level, str]
) -> None:
    assert judged(found(tmp_path, RANGE, ports, tables)) == judgement


def test_two_backends_at_one_address_share_its_connections(tmp_path: Path) -> None:
    tables = over("10.0.0.1:80", "10.0.0.2:80") | {"limits": {"max_connections": 50000}}
    tables["pools"]["default"]["backends"][1] = {"address": "10.0.0.1:80", "name": "b"}
    finding = found(tmp_path, RANGE, "32768 60999", tables)
    assert judged(finding) == WIDEN
    assert finding.what == (
        "32768 to 60999: 28232 connections at once to one address of a backend, "
        "and up to 50000 may be wanted"
    )


def test_a_backend_s_own_limit_may_want_more(tmp_path: Path) -> None:
    tables = over("10.0.0.1:80")
    tables["pools"]["default"]["backends"][0]["max_connections"] = 28233
    assert judged(found(tmp_path, RANGE, "32768 60999", tables)) == WIDEN


@pytest.mark.parametrize(
    ("value", "backend", "judgement"),
    [
        (1, "10.0.0.1:80", FINE),
        (2, "10.0.0.1:80", (Level.WARNING, f"sysctl -w {REUSE}=1")),
        (2, "127.0.0.1:80", FINE),
        (2, "[::1]:80", FINE),
        (2, "localhost:80", FINE),
        (0, "127.0.0.1:80", (Level.WARNING, f"sysctl -w {REUSE}=1")),
        ("", "127.0.0.1:80", (Level.UNKNOWN, "")),
    ],
)
def test_how_soon_a_port_comes_back(
    tmp_path: Path, value: object, backend: str, judgement: tuple[Level, str]
) -> None:
    assert judged(found(tmp_path, REUSE, "32768 60999", over(backend), reuse=value)) == judgement


def test_one_backend_on_another_machine_is_enough_to_warn_of_ports(tmp_path: Path) -> None:
    finding = found(tmp_path, REUSE, "32768 60999", over("127.0.0.1:1", "10.0.0.1:1"), reuse=2)
    assert finding.level is Level.WARNING
    assert "470 new connections a second" in finding.what


@pytest.mark.parametrize(
    ("bind", "backend", "reserved", "judgement"),
    [
        (":32767", "127.0.0.1:80", "", FINE),
        (":0", "127.0.0.1:80", "", FINE),
        (":32768", "127.0.0.1:80", "", (Level.WARNING, f"sysctl -w {RESERVED}=32768")),
        (":60999", "127.0.0.1:80", "", (Level.WARNING, f"sysctl -w {RESERVED}=60999")),
        (":61000", "127.0.0.1:80", "", FINE),
        (":80", "127.0.0.1:40000", "", (Level.WARNING, f"sysctl -w {RESERVED}=40000")),
        (":80", "10.0.0.1:40000", "", FINE),
        (":40000", "[::1]:50000", "", (Level.WARNING, f"sysctl -w {RESERVED}=40000,50000")),
        (":40000", "127.0.0.1:80", "40000", FINE),
        (":40000", "127.0.0.1:80", "7,39999-40001", FINE),
        (":40000", "127.0.0.1:80", "7,8-9", (Level.WARNING, f"sysctl -w {RESERVED}=7,8-9,40000")),
        (":40000", "127.0.0.1:80", "x-y,,", (Level.WARNING, f"sysctl -w {RESERVED}=x-y,,,40000")),
    ],
)
def test_a_server_s_port_that_others_may_be_given(
    tmp_path: Path, bind: str, backend: str, reserved: str, judgement: tuple[Level, str]
) -> None:
    tables = over(backend) | {"listeners": [{"bind": bind}]}
    finding = found(tmp_path, "ports of servers", "32768 60999", tables, reserved=reserved)
    assert judged(finding) == judgement


@pytest.mark.parametrize("ports", ["", "1", "1 2 3", "9 8", "a b"])
def test_a_range_that_is_none_tells_nothing(tmp_path: Path, ports: str) -> None:
    made = machine(tmp_path, {RANGE: ports})
    (finding,) = check_ports(config(), made)
    assert finding.level is Level.UNKNOWN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1024, 65535), max_size=5))
def test_what_it_advises_to_reserve_is_enough(tmp_path: Path, others: set[int]) -> None:
    reserved = ",".join(map(str, others))
    tables = over("127.0.0.1:40001") | {"listeners": [{"bind": ":40000"}]}
    finding = found(tmp_path, "ports of servers", "1024 65535", tables, reserved=reserved)
    advised = finding.todo.partition("=")[2] or reserved
    again = found(tmp_path, "ports of servers", "1024 65535", tables, reserved=advised)
    assert again.level is Level.OK
    assert others <= set(map(int, advised.split(",")))
