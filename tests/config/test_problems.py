from __future__ import annotations

import pytest

from tcplb.config.overrides import Override
from tests.config.conftest import ProblemsOf

STRATEGIES = (
    "round-robin, least-connections, random, power-of-two, hash, maglev, rendezvous, peak-ewma,"
    " first, module:function"
)
TABLES = "workers, watch, listeners, pools, limits, log, admin"
POOL = '[pools.web]\nbackends = [{ address = "a:1" }]\n'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        # the right type, the wrong value
        ("log.level = 'warn'", 'log.level: must be one of debug, info, warning, error (got "warn";'
            ' did you mean "warning"?)'),
        ("log.format = 'xml'", 'log.format: must be one of text, json (got "xml")'),
        ("limits.max_connections = 0",
            'limits.max_connections: must be a whole number of at least 1, or "auto" (got 0)'),
        ("limits.max_connections = true",
            'limits.max_connections: must be a whole number of at least 1, or "auto" (got true)'),
        ("limits.max_connections = 'many'",
            'limits.max_connections: must be a whole number of at least 1, or "auto" (got "many")'),
        ("workers = 0", 'workers: must be a whole number from 1 to 256, or "auto" (got 0)'),
        ("workers = -1", 'workers: must be a whole number from 1 to 256, or "auto" (got -1)'),
        ("workers = 257", 'workers: must be a whole number from 1 to 256, or "auto" (got 257)'),
        ("workers = 1.5", 'workers: must be a whole number from 1 to 256, or "auto" (got 1.5)'),
        ("workers = true", 'workers: must be a whole number from 1 to 256, or "auto" (got true)'),
        ("workers = '2'", 'workers: must be a whole number from 1 to 256, or "auto" (got "2")'),
        ("workers = 'many'",
            'workers: must be a whole number from 1 to 256, or "auto" (got "many")'),
        ("listeners = [{ engine = 'slice' }]", "listeners[0].engine: must be one of auto, streams,"
            ' splice (got "slice"; did you mean "splice"?)'),
        ("limits.drain_timeout = '5 parsecs'", "limits.drain_timeout: must be a duration such as"
            ' 250ms, 5s or 1h (got "5 parsecs")'),
        ("limits.drain_timeout = 5", "limits.drain_timeout: must be a duration in quotes, such as"
            ' "250ms", "5s" or "1h" (got 5)'),
        ("log.access = ''",
            'log.access: must be a path, "-" for standard output or "none" (got "")'),
        ("log.access = 'a\\u0000'".replace("'", '"'),
            'log.access: must be a path, "-" for standard output or "none" (got "a\\x00")'),
        # the wrong type
        ("log.access = 5", "log.access: must be a string in quotes (got 5)"),
        ("log.level = 1979-05-27",
            "log.level: must be one of debug, info, warning, error (got 1979-05-27)"),
        ("limits = 'none'", 'limits: must be a table (got "none")'),
        ("listeners = 5", "listeners: must be an array of tables ([[listeners]]) (got 5)"),
        ("listeners.bind = 'x:1'",
            "listeners: must be an array of tables ([[listeners]]) (got a table)"),
        ("listeners = ['x:1']", 'listeners[0]: must be a table (got "x:1")'),
        ("listeners = []", "listeners: must not be empty"),
        ("listeners = [{ access = 'deny all' }]",
            'listeners[0].access: must be an array of strings (got "deny all")'),
        ("listeners = [{ bind = 9090 }]", "listeners[0].bind: must be an address in quotes, such as"
            ' "127.0.0.1:8081" (got 9090)'),
        # keys
        ("listener = []", 'listener: unknown key (did you mean "listeners"?)'),
        ("frob = {}", f"frob: unknown key (known here: {TABLES})"),
        ("limits.max_conections = 5",
            'limits.max_conections: unknown key (did you mean "max_connections"?)'),
        ("limits.x = 5",
            "limits.x: unknown key (known here: max_connections, drain_timeout, "
            "upgrade_timeout)"),
        ('"a\\nb" = 5',
            f'"a\\nb": unknown key (known here: {TABLES})'),
    ],
)  # fmt: skip
def test_one_problem(problems_of: ProblemsOf, line: str, problem: str) -> None:
    assert problems_of(f"\n{line}\n{POOL}") == [f"tcplb.toml:2: {problem}"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("strategy = 'hsah'", f"pools.b.strategy: must be one of {STRATEGIES}"
            ' (got "hsah"; did you mean "hash"?)'),
        ("hash_key = 5", "pools.b.hash_key: must be one of auto, client, request, first-line,"
            " destination, client/24, client/64 (got 5)"),
        ("eject.failures = -1", "pools.b.eject.failures: must be at least 0 (got -1)"),
        ("eject.failures = 1.5", "pools.b.eject.failures: must be a whole number (got 1.5)"),
        ("eject.base_time = '0s'",
            'pools.b.eject.base_time: must be longer than 0s (got "0s")'),
        ("eject.jitter = 1.5", "pools.b.eject.jitter: must be at most 1 (got 1.5)"),
        ("eject.jitter = -0.1", "pools.b.eject.jitter: must be at least 0 (got -0.1)"),
        ("eject.jitter = '10%'", 'pools.b.eject.jitter: must be a number (got "10%")'),
        ("check = 5", "pools.b.check: must be a table (got 5)"),
        ("check.typ = 'tcp'", 'pools.b.check.typ: unknown key (did you mean "type"?)'),
        ("eject.jitters = 1", 'pools.b.eject.jitters: unknown key (did you mean "jitter"?)'),
    ],
)  # fmt: skip
def test_one_problem_of_a_pool(problems_of: ProblemsOf, line: str, problem: str) -> None:
    text = f"listeners = [{{pool = 'b'}}]\n{POOL}[pools.b]\n{line}\nbackends = [{{address='b:1'}}]"
    assert problems_of(text) == [f"tcplb.toml:5: {problem}"]


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        ("weight = 1", ".address: is required"),
        ("address = 'a:1', weight = 999", ".weight: must be at most 256 (got 999)"),
        ("address = 'a:1', weight = -1", ".weight: must be at least 0 (got -1)"),
        ("address = 'a:1', weight = 'three'", '.weight: must be a whole number (got "three")'),
        ("address = 'a:1', weight = true", ".weight: must be a whole number (got true)"),
        ("address = 'a:1', max_connections = -1", ".max_connections: must be at least 0 (got -1)"),
        ("address = 'a:1', max_connections = 1.5",
            ".max_connections: must be a whole number (got 1.5)"),
        ("address = 'a:1', max_connections = 'auto'",
            '.max_connections: must be a whole number (got "auto")'),
        ("address = 'a:1', weigth = 3", '.weigth: unknown key (did you mean "weight"?)'),
        ("address = 'a:1', x = 3",
            ".x: unknown key (known here: address, name, weight, max_connections, tier, backup,"
            " state, check_port)"),
        ("address = 'a'", '.address: must be HOST:PORT, but the port is missing (got "a")'),
        ("address = 'a:1', name = 'a b'",
            '.name: must be made of letters, digits and . _ - : % [ ] (got "a b")'),
    ],
)  # fmt: skip
def test_one_problem_of_a_backend(problems_of: ProblemsOf, backend: str, problem: str) -> None:
    text = f"[pools.web]\nbackends = [\n{{ {backend} }}]\n"
    assert problems_of(text) == [f"tcplb.toml:3: pools.web.backends[0]{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n[pools.web]\nstrategy = 'hash'", "2: pools.web.backends: is required"),
        ("[pools.web]\nbackends = []", "2: pools.web.backends: must not be empty"),
        ("[pools.web]\nbackends = 5",
            "2: pools.web.backends: must be an array of tables ([[pools.web.backends]]) (got 5)"),
        ("[pools.web.eject]\n[pools.web]\n", "2: pools.web.backends: is required"),
        ("[pools]", "1: pools: must not be empty"),
        ("pools = 5", "1: pools: must be a table (got 5)"),
        ("pools.web = 5", "1: pools.web: must be a table (got 5)"),
        ("[[pools]]\nname = 'web'", "1: pools: must be a table (got an array)"),
    ],
)  # fmt: skip
def test_one_problem_of_the_pools(problems_of: ProblemsOf, text: str, problem: str) -> None:
    assert problems_of(text) == [f"tcplb.toml:{problem}"]


def test_the_name_of_a_pool(problems_of: ProblemsOf) -> None:
    text = "listeners = [{ pool = 'a' }]\npools.a.backends = [{ address = 'a:1' }]\n"
    text += "[pools.'b c']\nbackends = [{ address = 'a:1' }]\n"
    assert problems_of(text) == [
        'tcplb.toml:3: pools."b c": must be made of letters, digits and . _ - : % [ ] (got "b c")'
    ]


ALL_WRONG = """\
idel_timeout = "5s"
[[listeners]]
bind = "127.0.0.1:80"
pool = "wbe"
[[listeners]]
bind = "127.0.0.1:080"
name = 4
pool = "web"
idle_timeout = "5 parsecs"
[pools.web]
strategy = "hsah"
[[pools.web.backends]]
address = "127.0.0.1:8081"
weight = 999
[[pools.web.backends]]
address = "127.0.0.1:08081"
weight = "three"
[log]
format = "xml"
"""


def test_all_problems_at_once_in_the_order_of_the_file(problems_of: ProblemsOf) -> None:
    assert problems_of(ALL_WRONG) == [
        f"tcplb.toml:1: idel_timeout: unknown key (known here: {TABLES})",
        'tcplb.toml:4: listeners[0].pool: no such pool (got "wbe"; did you mean "web"?)',
        "tcplb.toml:6: listeners[1].bind: must be unique, but listeners[0] has it too"
        ' (got "127.0.0.1:80")',
        "tcplb.toml:7: listeners[1].name: must be a string in quotes (got 4)",
        "tcplb.toml:9: listeners[1].idle_timeout: must be a duration such as 250ms, 5s or 1h"
        ' (got "5 parsecs")',
        f"tcplb.toml:11: pools.web.strategy: must be one of {STRATEGIES}"
        ' (got "hsah"; did you mean "hash"?)',
        "tcplb.toml:14: pools.web.backends[0].weight: must be at most 256 (got 999)",
        'tcplb.toml:16: pools.web.backends[1].address: must be unique in its pool unless it has a "'
        'name", but pools.web.backends[0] has it too (got "127.0.0.1:8081")',
        'tcplb.toml:17: pools.web.backends[1].weight: must be a whole number (got "three")',
        'tcplb.toml:19: log.format: must be one of text, json (got "xml")',
    ]


def test_a_users_value_is_escaped_and_cut(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of(f'[log]\nlevel = "\\u001b[31m\\n{"x" * 100}"\n')
    assert problem == (
        "tcplb.toml:2: log.level: must be one of debug, info, warning, error"
        f' (got "\\x1b[31m\\n{"x" * 54}...")'
    )


def test_a_path_that_is_not_text(problems_of: ProblemsOf) -> None:
    override = Override(("log", "access"), "a\udcff", "--access-log")
    assert problems_of("", [override]) == [
        '--access-log: must be a path, "-" for standard output or "none" (got "a\\udcff")'
    ]
