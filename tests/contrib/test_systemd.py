from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from tcplb.cli.exits import Exit
from tcplb.config.models import Config
from tcplb.config.units import parse_duration
from tests.contrib.files import CONTRIB, TOP, needs, run

FOLDER = CONTRIB / "systemd"
DRAIN_GRACE = 6.0
"""Seconds that a worker has beyond the drain time-out, as docs/operations.md says."""


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((FOLDER / name).read_text())
    return parser


@pytest.fixture
def service() -> dict[str, str]:
    return dict(unit("tcplb.service")["Service"])


@needs("systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    text = (FOLDER / "tcplb.service").read_text()
    # It has to be an executable that is there.
    installed, count = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/sh", text)
    assert count == 1
    (tmp_path / "tcplb.service").write_text(installed)
    (tmp_path / "tcplb.socket").write_text((FOLDER / "tcplb.socket").read_text())
    units = (tmp_path / "tcplb.service", tmp_path / "tcplb.socket")
    done = run("systemd-analyze", "verify", "--man=no", *units)
    ours = [line for line in done.stdout.splitlines() if "tcplb" in line]
    assert (done.returncode, ours) == (0, [])


@needs("systemd-analyze")
def test_the_calls_that_we_need_are_allowed(service: dict[str, str]) -> None:
    done = run("systemd-analyze", "syscall-filter")
    sets: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        word = line.strip()
        if line.startswith("@"):
            sets[word] = members = []
        elif word and not word.startswith("#"):
            members.append(word)

    def expand(name: str) -> set[str]:
        inside = (expand(one) if one.startswith("@") else {one} for one in sets[name])
        return set[str]().union(*inside)

    needed = {"splice", "memfd_create", "epoll_ctl", "prlimit64", "sendmsg", "clone3", "execve"}
    assert needed <= expand(service["SystemCallFilter"])


@needs("systemd-sysusers")
def test_the_user_can_be_made() -> None:
    done = run("systemd-sysusers", "--dry-run", FOLDER / "tcplb.sysusers")
    if "unrecognized option" in done.stdout:
        pytest.skip("needs a systemd-sysusers with --dry-run")
    assert done.returncode == 0, done.stdout


def test_the_user_is_the_service_s(service: dict[str, str]) -> None:
    (made,) = re.findall(r"(?m)^u (\S+) ", (FOLDER / "tcplb.sysusers").read_text())
    assert service["User"] == service["Group"] == made


def test_it_waits_for_the_drain_and_for_the_upgrade(service: dict[str, str]) -> None:
    # A unit's bare number is in seconds.
    patience = parse_duration(service["TimeoutStopSec"] + "s")
    assert patience > Config().limits.drain_timeout + DRAIN_GRACE
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == (
        "notify",
        "all",
        "mixed",
    )
    assert service["ExecReload"].endswith("kill -HUP $MAINPID")


def test_exit_codes_mean_what_they_mean_to_us(service: dict[str, str]) -> None:
    assert service["SuccessExitStatus"].split() == [str(int(Exit.DRAIN_TIMED_OUT))]
    assert service["RestartPreventExitStatus"].split() == [
        str(int(Exit.USAGE)),
        str(int(Exit.BAD_CONFIG)),
    ]
    assert service["Restart"] == "on-failure"


def test_what_it_needs_is_not_forbidden(service: dict[str, str]) -> None:
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(service["RestrictAddressFamilies"].split())
    assert "CAP_NET_BIND_SERVICE" in service["AmbientCapabilities"]
    assert "CAP_NET_BIND_SERVICE" in service["CapabilityBoundingSet"]
    # /proc/sys has the ports that the kernel picks, and the address is in the host's name space.
    assert not {"ProcSubset", "PrivateUsers", "PrivateNetwork"} & service.keys()


def test_the_readme_installs_what_there_is() -> None:
    readme = (CONTRIB / "README.md").read_text()
    named = set(re.findall(r"contrib/[\w./-]*\w", readme))
    assert {path for path in named if not (TOP / path).exists()} == set()
    files = {str(path.relative_to(TOP)) for path in CONTRIB.rglob("*") if path.is_file()}
    unmentioned = {path for path in files if Path(path).name not in readme}
    assert unmentioned <= {"contrib/README.md"}
