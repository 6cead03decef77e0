from __future__ import annotations

import pytest
from pydantic import ValidationError

from tcplb.config.admin import AUTO, MASKED, AdminConfig, is_local, to_admin_bind
from tcplb.config.describe import to_toml
from tcplb.config.models import Config
from tcplb.config.overrides import Override
from tests.cli.invoke import invoke, settings
from tests.config.conftest import LoadText, ProblemsOf

TOKEN = "a-token-of-16-or-more"  # noqa: S105
TLS = "tls_certificate = '/c.pem'\ntls_key = '/k.pem'\n"


def test_defaults() -> None:
    admin = Config().admin
    assert (admin.bind, admin.token, admin.token_file) == ("127.0.0.1:9091", None, "auto")
    assert (admin.tls_certificate, admin.tls_key, admin.hosts) == (None, None, ())
    assert not Config().watch


@pytest.mark.parametrize(
    ("written", "bind"),
    [
        ("none", "none"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:/" + "x" * 106, "unix:/" + "x" * 106),
        ("LOCALHOST:1", "localhost:1"),
        ("[::1]:0", "[::1]:0"),
        ("*:9091", ":9091"),
    ],
)
def test_binds(written: str, bind: str) -> None:
    assert to_admin_bind(written) == bind


@pytest.mark.parametrize(
    ("bind", "problem"),
    [
        ("unix:x.sock", 'must have an absolute path after unix: (got "unix:x.sock")'),
        ("unix:/x/", 'must have an absolute path after unix: (got "unix:/x/")'),
        ("unix:", 'must have an absolute path after unix: (got "unix:")'),
        ("unix:/a\\u0000b", 'must have an absolute path after unix: (got "unix:/a\\x00b")'),
        ("127.0.0.1", 'must be HOST:PORT, but the port is missing (got "127.0.0.1")'),
        ("off", 'must be HOST:PORT, but the port is missing (got "off")'),
        ("a:70000", 'must have a port from 0 to 65535 (got "a:70000")'),
    ],
)
def test_binds_that_are_wrong(problems_of: ProblemsOf, bind: str, problem: str) -> None:
    assert problems_of(f'[admin]\nbind = "{bind}"\n') == [f"tcplb.toml:2: admin.bind: {problem}"]


@pytest.mark.parametrize("path", ["/" + "x" * 107, "/" + "é" * 54])
def test_a_path_that_is_too_long(problems_of: ProblemsOf, path: str) -> None:
    (problem,) = problems_of(f'[admin]\nbind = "unix:{path}"\n')
    assert "admin.bind: must have a path of at most 107 bytes" in problem


@pytest.mark.parametrize(
    ("bind", "local"),
    [
        ("none", True),
        ("unix:/x", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.0.2.1:1", False),
        ("lb.example:1", False),
        ("localhost.example:1", False),
    ],
)
def test_what_only_this_machine_reaches(bind: str, local: bool) -> None:
    assert is_local(bind) is local


# -- the token ------------------------------------------------------------------------------------


def test_the_token_is_shown_nowhere(load_text: LoadText) -> None:
    loaded = load_text(f"[admin]\ntoken = '{TOKEN}'\n")
    assert loaded.config.admin.token is not None
    assert loaded.config.admin.token.get_secret_value() == TOKEN
    for shown in (
        to_toml(loaded),
        repr(loaded),
        str(loaded.config),
        str(loaded.config.model_dump()),
        loaded.config.model_dump_json(),
    ):
        assert TOKEN not in shown
    assert f'token = "{MASKED}"' in to_toml(loaded)
    assert Config.model_validate(loaded.config.model_dump()) == loaded.config


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("'short-secret-15'", "must have 16 to 1000 characters, such as `openssl rand -hex 32`"
            " gives (got 15)"),
        (f"'{'secret' * 200}'", "must have 16 to 1000 characters, such as `openssl rand -hex 32`"
            " gives (got 1200)"),
        ("'secret with spaces in it'",
            "must be made of printable ASCII characters without spaces"),
        ("'secret-secret-secrét'", "must be made of printable ASCII characters without spaces"),
        ('"secret-secret-secret\\n"', "must be made of printable ASCII characters without spaces"),
        ("5", "must be a string in quotes"),
        ("['secret-secret-secret']", "must be a string in quotes"),
    ],
)  # fmt: skip
def test_a_token_that_is_none_is_not_shown_either(
    problems_of: ProblemsOf, token: str, problem: str
) -> None:
    problems = problems_of(f"[admin]\ntoken = {token}\n")
    assert problems == [f"tcplb.toml:2: admin.token: {problem}"]
    assert "secret" not in problems[0]


def test_what_is_shown_of_it_is_no_token(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of(f"[admin]\ntoken = '{MASKED}'\n")
    assert "must have 16 to 1000 characters" in problem


def test_the_token_from_the_environment() -> None:
    shown = invoke("config", "show", environment={"TCPLB_ADMIN_TOKEN": TOKEN})
    assert shown.exit_code == 0
    assert TOKEN not in shown.stdout
    assert f'token = "{MASKED}"  # TCPLB_ADMIN_TOKEN' in shown.stdout
    short = invoke("config", "show", environment={"TCPLB_ADMIN_TOKEN": "x"})
    assert short.exit_code == 2
    assert "TCPLB_ADMIN_TOKEN: must have 16 to 1000 characters" in short.stderr


def test_there_is_no_flag_for_it() -> None:
    assert invoke("config", "show", "--admin-token", TOKEN).exit_code == 2


def test_a_token_and_a_file_for_it(problems_of: ProblemsOf, load_text: LoadText) -> None:
    both = f"[admin]\ntoken_file = '/t'\ntoken = '{TOKEN}'\n"
    assert problems_of(both) == ["tcplb.toml:2: admin.token_file: must not be there beside token"]
    flag = Override(("admin", "token"), TOKEN, "TCPLB_ADMIN_TOKEN")
    assert load_text("[admin]\ntoken_file = '/t'\n", [flag]).config.admin.token_file == AUTO


# -- a port that others reach ---------------------------------------------------------------------


@pytest.mark.parametrize("bind", [":9091", "0.0.0.0:9091", "lb.example:9091", "[2001:db8::1]:1"])
def test_others_reach_it_only_with_tls_and_a_token(
    problems_of: ProblemsOf, load_text: LoadText, bind: str
) -> None:
    alone = f"[admin]\nbind = '{bind}'\n"
    needs = (
        f'tcplb.toml:2: admin.bind: is no loopback address ("{bind}"), so that others can reach it:'
        " it needs"
    )
    tls, token = (
        f"{needs} tls_certificate and tls_key",
        f"{needs} a token, or a token_file of yours",
    )
    assert problems_of(alone) == [tls, token]
    assert problems_of(alone + TLS) == [token]
    assert problems_of(alone + TLS + "token_file = 'auto'\n") == [token]
    assert problems_of(alone + f"token = '{TOKEN}'\n") == [tls]
    assert load_text(alone + TLS + f"token = '{TOKEN}'\n").config.admin.bind == bind
    assert load_text(alone + TLS + "token_file = '/t'\n").config.admin.bind == bind


def test_a_flag_that_opens_it(problems_of: ProblemsOf) -> None:
    flag = Override(("admin", "bind"), ":1", "--admin-bind")
    (problem,) = problems_of(f"[admin]\n{TLS}", [flag])
    assert problem.startswith('--admin-bind: is no loopback address (":1")')


@pytest.mark.parametrize(
    ("there", "missing"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")]
)
def test_a_certificate_and_its_key(problems_of: ProblemsOf, there: str, missing: str) -> None:
    assert problems_of(f"[admin]\n{there} = '/x'\n") == [
        f"tcplb.toml:2: admin.{there}: needs {missing} beside it"
    ]


@pytest.mark.parametrize("host", ["lb.example", "LB.example:443", "[::1]:80", "10.0.0.1"])
def test_hosts(host: str) -> None:
    assert AdminConfig(hosts=(host,)).hosts == (host.lower(),)


@pytest.mark.parametrize("host", ["", "http://x", "x/y", "x:123456", "a b", "*", "-x", 5])
def test_what_is_no_host(host: object) -> None:
    with pytest.raises(ValidationError, match="must be a host name"):
        AdminConfig.model_validate({"hosts": [host]})


def test_flags_and_variables() -> None:
    flags = ("--admin-bind", "none", "--admin-token-file", "/t", "--watch", "true")
    got = settings(*flags)
    assert (got["admin"]["bind"], got["admin"]["token_file"], got["watch"]) == ("none", "/t", True)
    variables = {"TCPLB_ADMIN_BIND": "unix:/x", "TCPLB_WATCH": "1"}
    got = settings(environment=variables)
    assert (got["admin"]["bind"], got["watch"]) == ("unix:/x", True)
    assert invoke("config", "show", "--watch", "perhaps").exit_code == 2


def test_whether_bind_was_given_can_be_told(load_text: LoadText) -> None:
    assert "bind" not in load_text("").config.admin.model_fields_set
    given = load_text("[admin]\nbind = '127.0.0.1:9091'\n")
    assert "bind" in given.config.admin.model_fields_set
