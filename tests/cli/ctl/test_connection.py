"""Where the balancer is, which token it gets, and what is said if that does not work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import trustme
from click.testing import Result

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.token import token_file_name
from tests.cli.ctl.balancer import TOKEN, Balancer, unused_address
from tests.cli.invoke import invoke
from tests.control.admin.scripted import Scripted, hang, http, problem
from tests.processes import WAIT

OTHER_TOKEN = "another-token-than-the-right-one"  # noqa: S105


def ctl(*arguments: str, **environment: str) -> Result:
    return invoke("ctl", *arguments, environment=environment)


def away(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose token files nobody has written."""
    home = str(tmp_path)
    return {"HOME": home, "XDG_RUNTIME_DIR": home, "RUNTIME_DIRECTORY": home}


# -- where ------------------------------------------------------------------------------------


def test_by_a_flag(balancer: Balancer) -> None:
    assert ctl("--admin", balancer.address, "health").stdout == "ready\n"
    assert ctl("--admin", f"127.0.0.1:{balancer.port}", "health").stdout == "ready\n"


@pytest.mark.parametrize("variable", ["TCPLB_CTL_ADMIN", "TCPLB_ADMIN_BIND"])
def test_by_a_variable(balancer: Balancer, variable: str) -> None:
    address = f"127.0.0.1:{balancer.port}"
    assert ctl("health", **{variable: address}).stdout == "ready\n"


def test_the_flag_counts_before_ctls_variable_and_that_before_the_servers(
    balancer: Balancer,
) -> None:
    address = f"127.0.0.1:{balancer.port}"
    assert ctl("health", TCPLB_CTL_ADMIN=address, TCPLB_ADMIN_BIND="none").stdout == "ready\n"
    result = ctl("--admin", address, "health", TCPLB_CTL_ADMIN="none", TCPLB_ADMIN_BIND="none")
    assert result.stdout == "ready\n"


def test_a_server_that_listens_on_all_addresses_is_reached_by_loopback(balancer: Balancer) -> None:
    assert ctl("health", TCPLB_ADMIN_BIND=f":{balancer.port}").stdout == "ready\n"


@pytest.mark.parametrize("address", ["none", "localhost", "http://x/y", "127.0.0.1:0"])
def test_an_address_that_is_none(address: str) -> None:
    result = ctl("--admin", address, "status")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--admin (TCPLB_CTL_ADMIN, TCPLB_ADMIN_BIND)" in result.stderr


def test_help_needs_no_address() -> None:
    assert ctl("status", "--help", TCPLB_ADMIN_BIND="none").exit_code == 0


def test_over_a_unix_socket(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/admin.sock"
    with Balancer(AdminConfig(bind=bind)) as balancer:
        assert balancer.address == bind
        assert balancer.says("close", "1-1") == "1-1 is being closed\n"


def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    config = AdminConfig(
        bind="127.0.0.1:0",
        tls_certificate=str(tmp_path / "cert.pem"),
        tls_key=str(tmp_path / "key.pem"),
    )
    with Balancer(config) as balancer:
        plain = balancer.address.removeprefix("https://")
        trusted = ("--ca", str(tmp_path / "ca.pem"))
        assert ctl("--admin", balancer.address, *trusted, "health").stdout == "ready\n"
        assert ctl("--admin", plain, *trusted, "health").stdout == "ready\n"
        assert ctl("--admin", plain, "--insecure", "health").stdout == "ready\n"
        message = ctl("--admin", balancer.address, "status").stderr
        assert "its certificate is not to be trusted" in message
        assert "--ca, --insecure" in message


def test_tls_where_the_address_says_that_there_is_none() -> None:
    result = ctl("--admin", "http://127.0.0.1:1", "--insecure", "status")
    assert result.exit_code == 2
    assert "for TLS" in result.stderr


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), ("x", "has no certificates")]
)
def test_certificates_that_are_none(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    result = ctl("--ca", str(file), "status")
    assert result.exit_code == 2
    assert says in result.stderr


# -- what goes wrong --------------------------------------------------------------------------


def test_nobody_there() -> None:
    address = unused_address()
    result = ctl("--admin", address, "status")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"tcplb: cannot connect to {address}: Connection refused; is tcplb running with an admin "
        "port there? see [admin] bind, and --admin\n"
    )


def test_a_balancer_that_hangs() -> None:
    with Scripted(hang) as server:
        result = ctl("--admin", server.address, "--timeout", "50ms", "pools")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"tcplb: {server.address} has said nothing for 0.05 s\n"


@pytest.mark.parametrize("timeout", ["0s", "soon", "5"])
def test_a_timeout_that_is_none(timeout: str) -> None:
    result = ctl("--timeout", timeout, "status")
    assert result.exit_code == 2
    assert "--timeout" in result.stderr


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (problem(403, "from another page"), 1, "does not allow this: from another page"),
        (problem(421, "no such host"), 1, "does not go by that name"),
        (problem(429, "too many wrong tokens"), 1, "tcplb: too many wrong tokens"),
        (problem(500, "a bug"), 1, "its log says why"),
        (problem(503, "too many at once"), 1, "tcplb: too many at once"),
        (problem(400, "pool: too long"), 2, "Error: pool: too long"),
        (problem(422, "pool: too long"), 2, "Error: pool: too long"),
        (http(200, "<html>", "text/html"), 1, "does not answer like an admin port of tcplb"),
        (http(200, '{"pools": 5}'), 1, "is the balancer another version?"),
        (http(200, "x"), 1, "is the balancer another version?"),
        (b"", 1, "has hung up without an answer"),
    ],
)
def test_an_answer_that_is_no_good(answer: bytes, code: int, says: str) -> None:
    with Scripted(answer) as server:
        result = ctl("--admin", server.address, "pools")
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


def test_a_host_that_nobody_knows(balancer: Balancer) -> None:
    result = ctl("--admin", f"http://ip6-localhost.invalid:{balancer.port}", "status")
    assert result.exit_code == 1
    assert result.stderr.startswith("tcplb: cannot connect to ip6-localhost.invalid:")


def test_a_command_that_does_not_exist() -> None:
    assert "No such command 'statsu'" in ctl("statsu").stderr


# -- the token --------------------------------------------------------------------------------


def enable(balancer: Balancer, *options: str, **environment: str) -> Result:
    return ctl("--admin", balancer.address, *options, "enable", "b1", **environment)


def test_without_a_token_reading_is_free_and_changes_are_not(
    balancer: Balancer, tmp_path: Path
) -> None:
    assert ctl("--admin", balancer.address, "backend", "b1", **away(tmp_path)).exit_code == 0
    result = enable(balancer, **away(tmp_path))
    assert result.exit_code == 1
    name = token_file_name(f"127.0.0.1:{balancer.port}")
    assert "wants its token for this, and there is none" in result.stderr
    assert "neither TCPLB_ADMIN_TOKEN nor --token-file is set" in result.stderr
    assert f"no {name} can be read" in result.stderr
    assert balancer.control.changed == []


def test_the_token_of_the_environment(balancer: Balancer) -> None:
    assert enable(balancer, TCPLB_ADMIN_TOKEN=TOKEN).exit_code == 0


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_the_token_of_a_file(balancer: Balancer, tmp_path: Path, by: str) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    if by == "flag":
        result = enable(balancer, "--token-file", str(file), **away(tmp_path))
    else:
        result = enable(balancer, TCPLB_ADMIN_TOKEN_FILE=str(file), **away(tmp_path))
    assert result.exit_code == 0, result.stderr


def test_the_file_of_a_flag_counts_more_than_the_token_of_the_environment(
    balancer: Balancer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    options = ("--token-file", str(file))
    assert enable(balancer, *options, TCPLB_ADMIN_TOKEN=OTHER_TOKEN).exit_code == 0
    file.write_text(OTHER_TOKEN)
    both = {"TCPLB_ADMIN_TOKEN": TOKEN, "TCPLB_ADMIN_TOKEN_FILE": str(file)}
    assert enable(balancer, **both).exit_code == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_token_is_found_where_the_balancer_puts_it(
    balancer: Balancer, tmp_path: Path, host: str
) -> None:
    folder = tmp_path / "tcplb"
    folder.mkdir()
    (folder / token_file_name(f"{host}:{balancer.port}")).write_text(TOKEN)
    where = {**away(tmp_path), "RUNTIME_DIRECTORY": "", "TCPLB_ADMIN_TOKEN_FILE": "auto"}
    assert enable(balancer, **where).exit_code == 0


def test_a_wrong_token_is_named_by_where_it_is_from(balancer: Balancer) -> None:
    result = enable(balancer, TCPLB_ADMIN_TOKEN=OTHER_TOKEN)
    assert result.exit_code == 1
    assert "has another token than that of TCPLB_ADMIN_TOKEN" in result.stderr
    assert OTHER_TOKEN not in result.stderr


@pytest.mark.parametrize("content", ["", "\n", "two words", "ü" * 20])
def test_a_file_without_a_token(balancer: Balancer, tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    result = enable(balancer, "--token-file", str(file))
    assert result.exit_code == 2
    assert f"there is no token in {file}" in result.stderr


def test_a_token_file_that_cannot_be_read(balancer: Balancer, tmp_path: Path) -> None:
    result = enable(balancer, "--token-file", str(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert "No such file or directory" in result.stderr
    assert "Is a directory" in enable(balancer, "--token-file", str(tmp_path)).stderr


def test_a_variable_without_a_token(balancer: Balancer) -> None:
    result = enable(balancer, TCPLB_ADMIN_TOKEN="with\nnewline")  # noqa: S106
    assert result.exit_code == 2
    assert "there is no token in TCPLB_ADMIN_TOKEN" in result.stderr


# -- as a process -----------------------------------------------------------------------------


def run(balancer: Balancer, stdout: int | IO[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tcplb", "ctl", "pools"],
        env=os.environ | balancer.environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=WAIT,
        check=False,
    )


def test_the_real_command(balancer: Balancer) -> None:
    done = run(balancer, subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def test_a_full_disk(balancer: Balancer) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(balancer, full)
    assert (done.returncode, done.stderr) == (1, "tcplb: No space left on device\n")


def test_a_reader_that_has_left(balancer: Balancer) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(balancer, writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
