from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tcplb.control.doctor.files import check_access_log, check_config_file
from tcplb.control.doctor.finding import Level
from tests.control.doctor.machines import judged
from tests.processes import WAIT


@pytest.mark.parametrize("target", ["-", "none", os.devnull])
def test_no_file_or_none_of_the_usual_is_fine(target: str) -> None:
    assert judged(check_access_log(target)) == (Level.OK, "")


def test_a_file_that_is_or_may_be_there(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    assert judged(check_access_log(str(path))) == (Level.OK, "")
    assert not path.exists()
    path.write_text("")
    assert judged(check_access_log(str(path))) == (Level.OK, "")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert judged(check_access_log(str(tmp_path))) == (Level.PROBLEM, "name a file in it")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    finding = check_access_log(f"{tmp_path}/some where/a.log")
    assert judged(finding) == (Level.PROBLEM, f"mkdir -p '{tmp_path}/some where'")


def test_a_path_is_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    finding = check_access_log(f"{tmp_path}/\x1b[2J/a.log")
    assert finding.what.isprintable()
    assert finding.todo.isprintable()


AS_NOBODY = """
import sys
from tcplb.control.doctor.files import check_access_log
for path in sys.argv[1:]:
    finding = check_access_log(path)
    print(finding.level, finding.todo, sep="; ")
"""


def test_what_this_user_may_not_write(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.log", tmp_path / "b"
    file.write_text("")
    file.chmod(0o444)
    folder.mkdir(mode=0o555)
    closed = tmp_path / "c"
    closed.mkdir(mode=0o000)
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, to be another user than root")
        # Still root, but without the power to write everywhere. Who it is does not matter.
        drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    done = subprocess.run(
        [
            *drop,
            sys.executable,
            "-c",
            AS_NOBODY,
            str(file),
            str(folder / "c.log"),
            str(closed / "d.log"),
        ],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"problem; chown $USER {file}, with the user that tcplb runs as",
        f"problem; chown $USER {folder}, with the user that tcplb runs as",
        f"problem; namei -l {closed}/d.log shows which directory is closed to it",
    ]


# -- the settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "level"),
    [(0o644, Level.OK), (0o664, Level.OK), (0o646, Level.WARNING), (0o602, Level.WARNING)],
)
def test_settings_that_anybody_may_write(tmp_path: Path, mode: int, level: Level) -> None:
    path = tmp_path / "tcplb.toml"
    path.write_text("")
    path.chmod(mode)
    finding = check_config_file(path)
    assert finding.level is level
    assert finding.todo == ("" if level is Level.OK else f"chmod o-w {path}")


def test_settings_from_nowhere_or_a_device_are_nobody_s_to_write(tmp_path: Path) -> None:
    assert check_config_file(None).level is Level.OK
    assert check_config_file(Path(os.devnull)).level is Level.OK
    assert check_config_file(tmp_path / "gone.toml").level is Level.UNKNOWN
