from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.token import (
    TokenError,
    find_or_make_token,
    find_token,
    is_same,
    token_file_name,
    token_path,
)

BIND = "127.0.0.1:9091"
AUTO = AdminConfig()
GIVEN = "a-token-that-was-given"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path / "home")}


def test_a_token_is_made_once_and_kept(tmp_path: Path, environ: dict[str, str]) -> None:
    token = find_or_make_token(AUTO, BIND, environ)
    path = tmp_path / "run" / "tcplb" / "admin-127.0.0.1-9091.token"
    assert path.read_text() == f"{token}\n"
    assert len(token) >= 43
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert find_or_make_token(AUTO, BIND, environ) == token
    assert find_token(BIND, environ) == token
    assert find_or_make_token(AUTO, "127.0.0.1:9092", environ) != token


def test_the_mode_does_not_hang_on_the_umask(tmp_path: Path, environ: dict[str, str]) -> None:
    before = os.umask(0)
    try:
        find_or_make_token(AUTO, BIND, environ)
    finally:
        os.umask(before)
    path = token_path(AUTO, BIND, environ)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_the_settings_come_before_the_file(tmp_path: Path, environ: dict[str, str]) -> None:
    assert find_or_make_token(AdminConfig(token=SecretStr(GIVEN)), BIND, environ) == GIVEN
    assert list(tmp_path.iterdir()) == []


def test_where_the_file_is(tmp_path: Path) -> None:
    home = {"HOME": "/h"}
    xdg = home | {"XDG_RUNTIME_DIR": "/x"}
    name = "admin-127.0.0.1-9091.token"
    root_or_home = "/run/tcplb" if os.geteuid() == 0 else "/h/.local/state/tcplb"
    assert token_path(AUTO, BIND, home) == Path(root_or_home, name)
    assert token_path(AUTO, BIND, xdg) == Path("/x/tcplb", name)
    assert token_path(AUTO, BIND, xdg | {"RUNTIME_DIRECTORY": "/r/tcplb:/r2"}) == Path(
        "/r/tcplb", name
    )
    assert token_path(AdminConfig(token_file="/t"), BIND, xdg) == Path("/t")  # noqa: S106


@pytest.mark.parametrize(
    ("bind", "name"),
    [
        ("127.0.0.1:9091", "admin-127.0.0.1-9091.token"),
        ("[::1]:9091", "admin-::1-9091.token"),
        (":9091", "admin-any-9091.token"),
        ("unix:/run/a.sock", "admin-unix-d83ed07b60e55b1f.token"),
    ],
)
def test_what_the_file_is_called(bind: str, name: str) -> None:
    if bind.startswith("unix:"):
        assert token_file_name(bind).startswith("admin-unix-")
        assert token_file_name(bind) != token_file_name(bind + "x")
        assert len(token_file_name(bind)) == len(name)
    else:
        assert token_file_name(bind) == name


def test_a_client_finds_it_wherever_the_server_chose_to_have_it(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    systemd = environ | {"RUNTIME_DIRECTORY": str(tmp_path / "systemd")}
    token = find_or_make_token(AUTO, BIND, systemd)
    assert find_token(BIND, systemd) == token
    home = {"HOME": environ["HOME"]}
    bind = "192.0.2.1:7"
    at_home = tmp_path / "home" / ".local" / "state" / "tcplb" / token_file_name(bind)
    at_home.parent.mkdir(parents=True)
    at_home.write_text(GIVEN)
    assert find_token(bind, home | {"XDG_RUNTIME_DIR": "/nowhere"}) == GIVEN
    assert find_token(bind, home | {"TCPLB_ADMIN_TOKEN": "x"}) == "x"
    assert find_token(bind, {"HOME": "/nowhere"}) is None


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "token"
    config = AdminConfig(token_file=str(path))
    token = find_or_make_token(config, BIND, {})
    assert path.read_text() == f"{token}\n"
    assert mode(path) == 0o600
    path.write_text(f"  {GIVEN}\n\n")
    assert find_or_make_token(config, BIND, {}) == GIVEN


@pytest.mark.parametrize("others_may", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_file_that_others_can_open_is_refused(tmp_path: Path, others_may: int) -> None:
    path = tmp_path / "token"
    path.write_text(GIVEN)
    path.chmod(others_may)
    with pytest.raises(TokenError, match=f"others may read or write .* mode is {others_may:04o}"):
        find_or_make_token(AdminConfig(token_file=str(path)), BIND, {})
    assert path.read_text() == GIVEN


@pytest.mark.parametrize("content", ["", "short", "x" * 1001, "with a space " * 3, "\xe9" * 20])
def test_a_file_with_no_token_in_it_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(TokenError, match="does not have a token in it"):
        find_or_make_token(AdminConfig(token_file=str(path)), BIND, {})
    assert path.read_text() == content


def test_no_symbolic_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    link = tmp_path / "token"
    link.symlink_to(target)
    config = AdminConfig(token_file=str(link))
    with pytest.raises(TokenError, match="is a symbolic link"):
        find_or_make_token(config, BIND, {})
    assert not target.exists()
    target.write_text(GIVEN)
    with pytest.raises(TokenError, match="is a symbolic link"):
        find_or_make_token(config, BIND, {})


def test_no_linked_directory_is_used(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tcplb").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TokenError, match="is no directory"):
        find_or_make_token(AUTO, BIND, environ)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("others_may", [0o770, 0o707, 0o777])
def test_no_directory_is_used_that_others_may_change(
    tmp_path: Path, environ: dict[str, str], others_may: int
) -> None:
    directory = tmp_path / "run" / "tcplb"
    directory.mkdir(parents=True)
    directory.chmod(others_may)
    with pytest.raises(TokenError, match="others may write into"):
        find_or_make_token(AUTO, BIND, environ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_or_directory_of_somebody_else_is_refused(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    path = tmp_path / "token"
    path.write_text(GIVEN)
    path.chmod(0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(TokenError, match="belongs to another user"):
        find_or_make_token(AdminConfig(token_file=str(path)), BIND, {})
    directory = tmp_path / "run" / "tcplb"
    directory.mkdir(parents=True)
    os.chown(directory, 12345, -1)
    with pytest.raises(TokenError, match="belongs to another user"):
        find_or_make_token(AUTO, BIND, environ)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir(0o700)
    for name in ("fifo", "directory"):
        with pytest.raises(TokenError, match="not a regular file"):
            find_or_make_token(AdminConfig(token_file=str(tmp_path / name)), BIND, {})


def test_where_no_file_can_be_made(tmp_path: Path, environ: dict[str, str]) -> None:
    missing = tmp_path / "missing" / "token"
    with pytest.raises(TokenError, match=r"cannot use the token file .*: No such file"):
        find_or_make_token(AdminConfig(token_file=str(missing)), BIND, {})
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TokenError, match="cannot use the token file"):
        find_or_make_token(AUTO, BIND, environ)


@given(st.text(), st.text(st.characters(codec="ascii")))
def test_the_same_is_the_same_and_nothing_else(given_: str, token: str) -> None:
    assert is_same(token, token)
    assert is_same(given_, token) is (given_ == token)


def test_bytes_that_are_no_text() -> None:
    assert not is_same(b"\xff\xfe".decode(errors="surrogateescape"), "x")
