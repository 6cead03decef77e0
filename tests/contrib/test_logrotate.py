from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from tests.contrib.files import CONTRIB, needs, replaced, run
from tests.processes import balancer, echo_backends, eventually, port_of, visit

FILE = CONTRIB / "logrotate" / "tcplb"
SIGNAL = "systemctl kill --kill-who=main --signal=USR1 tcplb.service"


def installed(folder: Path, signal: str) -> Path:
    """Write the file for logs in `folder` and the user of this process; return where."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    path = folder / "logrotate.conf"
    text = replaced(
        FILE.read_text(),
        logs=("/var/log/tcplb/", f"{folder}/"),
        reader=("su tcplb tcplb", f"su {user} {group}"),
        owner=("create 0640 tcplb tcplb", f"create 0640 {user} {group}"),
        signal=(SIGNAL, signal),
    )
    path.write_text(text)
    path.chmod(0o644)
    return path


@needs("logrotate")
def test_logrotate_understands_it(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("a line\n")
    done = run("logrotate", "--debug", "--force", installed(tmp_path, "true"))
    assert done.returncode == 0, done.stdout
    assert "error" not in done.stdout
    assert "log needs rotating" in done.stdout


@pytest.mark.e2e
@needs("logrotate")
def test_after_a_rotation_lines_go_to_a_new_file_and_none_is_lost(tmp_path: Path) -> None:
    new, old = tmp_path / "access.log", tmp_path / "access.log.1"
    visits = 0
    with echo_backends() as (echo,):
        flags = ("--access-log", str(new))
        with balancer(*flags, backends=[port_of(echo)]) as (ours, port):

            def visited(log: Path) -> bool:
                nonlocal visits
                visits += 1
                visit(port)
                return log.read_text() != ""

            eventually(lambda: visited(new))
            conf = installed(tmp_path, f"kill -USR1 {ours.process.pid}")
            done = run("logrotate", "--force", "--state", tmp_path / "state", conf)
            assert (done.returncode, done.stdout) == (0, "")
            eventually(lambda: visited(new))
    written = [path.read_text().count("\n") for path in (old, new)]
    assert min(written) > 0
    assert sum(written) == visits
