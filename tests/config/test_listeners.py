"""What each key of a listener takes, and what is said of all else."""

from __future__ import annotations

import pytest

from tests.config.conftest import LoadText, ProblemsOf

MOST = 1_000_000_000
RULE = 'must be "allow" or "deny" and then a network, an address or "all"'
NETWORK = "must have a network such as 10.0.0.0/8"
RATES = ("max_new_per_second", "per_client.max_new_per_second")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, number) for key in ("max_connections", *RATES) for number in (0, MOST)),
        *(("per_client.prefix", number) for number in (1, 32)),
        *(("per_client.prefix_v6", number) for number in (1, 128)),
        ("per_client.table_size", 1),
    ],
)
def test_right_numbers(load_text: LoadText, key: str, value: int) -> None:
    load_text(f"[[listeners]]\n{key} = {value}\n")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *(
            (key, value, message)
            for key in ("max_connections", "burst", "per_client.burst", *RATES)
            for value, message in (
                ("-1", "must be at least 0"),
                (str(MOST + 1), f"must be at most {MOST}"),
                ("1.5", "must be a whole number"),
                ("true", "must be a whole number"),
                ('"auto"', "must be a whole number"),
            )
            if "burst" not in key or value in ("-1", "1.5", '"auto"')
        ),
        ("per_client.prefix", "0", "must be at least 1"),
        ("per_client.prefix", "33", "must be at most 32"),
        ("per_client.prefix_v6", "0", "must be at least 1"),
        ("per_client.prefix_v6", "129", "must be at most 128"),
        ("per_client.table_size", "0", "must be at least 1"),
        ("per_client", "5", "must be a table"),
        ("per_client.x", "5", None),
        ("access", '"deny all"', "must be an array of strings"),
        ("access", "5", "must be an array of strings"),
    ],
)
def test_wrong_values(problems_of: ProblemsOf, key: str, value: str, message: str | None) -> None:
    known = "max_new_per_second, burst, prefix, prefix_v6, table_size"
    said = f"{message} (got {value})" if message else f"unknown key (known here: {known})"
    assert problems_of(f"[[listeners]]\n{key} = {value}\n") == [
        f"tcplb.toml:2: listeners[0].{key}: {said}"
    ]


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ("allow 10.0.0.0/8", "allow 10.0.0.0/8"),
        ("deny 10.0.0.1", "deny 10.0.0.1/32"),
        (" allow  ::1 ", "allow ::1/128"),
        ("deny all", "deny all"),
        ("allow ::ffff:10.0.0.0/104", "allow 10.0.0.0/8"),
    ],
)
def test_access_rules(load_text: LoadText, rule: str, read: str) -> None:
    config = load_text(f"[[listeners]]\naccess = ['deny ::2', '{rule}']\n").config
    assert config.listeners[0].access == ("deny ::2/128", read)


def test_no_access_rules_are_as_good_as_no_key(load_text: LoadText) -> None:
    assert load_text("[[listeners]]\naccess = []\n").config.listeners[0].access == ()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('"permit all"', RULE),
        ('"allow"', RULE),
        ('""', RULE),
        ('"Allow all"', RULE),
        ('"allow 10.0.0.1/8"', f"{NETWORK} (10.0.0.1/8 has host bits set)"),
        ('"allow lan"', f"{NETWORK} ('lan' does not appear to be an IPv4 or IPv6 network)"),
        (
            '"allow 10.0.0.0/8 all"',
            f"{NETWORK} ('10.0.0.0/8 all' does not appear to be an IPv4 or IPv6 network)",
        ),
        (
            '"allow fe80::%eth0/64"',
            "must have a network without a zone: the zone of a client does not count",
        ),
        ("5", 'must be a rule in quotes, such as "allow 10.0.0.0/8"'),
        ("{}", None),
    ],
)
def test_what_is_no_access_rule(problems_of: ProblemsOf, rule: str, message: str | None) -> None:
    said = message or 'must be a rule in quotes, such as "allow 10.0.0.0/8"'
    got = rule if message else "a table"
    assert problems_of(f"[[listeners]]\naccess = [\n'deny all',\n{rule},\n]\n") == [
        f"tcplb.toml:4: listeners[0].access[1]: {said} (got {got})"
    ]


def test_an_access_rule_is_escaped_and_cut(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of(f'[[listeners]]\naccess = ["allow \\u001b{"x" * 999}"]\n')
    assert problem.isprintable()
    assert len(problem) < 400
