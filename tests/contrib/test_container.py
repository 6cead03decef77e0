from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import click

from tcplb.cli.ctl.health import PROBE_TIME
from tcplb.cli.main import main
from tcplb.config.admin import AdminConfig
from tcplb.config.units import parse_duration
from tcplb.control.admin.token import token_path
from tests.contrib.files import CONTRIB, TOP

FOLDER = CONTRIB / "container"
Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage, as far as the words go: nothing is built here."""
    text = (FOLDER / "Containerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    found: list[list[Instruction]] = []
    for line in whole:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest.strip()))
    return found


def of(stage: list[Instruction], word: str) -> list[str]:
    return [rest for name, rest in stage if name == word]


def last(word: str) -> str:
    """Return the only instruction of that kind in the image's own stage."""
    (rest,) = of(stages()[-1], word)
    return rest


def test_every_instruction_is_one() -> None:
    known = {
        *("FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"),
        *("ENTRYPOINT", "CMD", "ENV"),
    }
    assert {word for stage in stages() for word, _ in stage} <= known


def test_both_stages_have_a_python_that_is_new_enough() -> None:
    for stage in stages():
        (image,) = of(stage, "FROM")
        match = re.match(r"docker\.io/library/python:(\d+)\.(\d+)-slim( AS build)?$", image)
        assert match, image
        assert (int(match[1]), int(match[2])) >= (3, 11)
    assert len(stages()) == 2


def test_what_is_copied_is_there_and_not_ignored() -> None:
    patterns = [
        line
        for line in (FOLDER / ".containerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    for rest in of(stages()[0], "COPY"):
        for source in rest.split()[:-1]:
            assert (TOP / source).exists()
            decisive = [one for one in patterns if fnmatch(source, one.lstrip("!"))][-1]
            assert decisive == f"!{source}"
    assert patterns[0] == "*"


def test_the_wheel_has_all_it_is_made_of() -> None:
    copied = {word for rest in of(stages()[0], "COPY") for word in rest.split()[:-1]}
    # What pyproject.toml names: packages, readme and licence.
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "tcplb", "echo_backends"}


def test_it_does_not_run_as_root() -> None:
    user = last("USER").split(":")[0]
    assert user.isdecimal()
    assert int(user) > 0
    assert f"--uid {user} " in last("RUN")


def test_its_user_may_write_the_token_without_which_there_is_no_admin_port() -> None:
    name, _, directory = last("ENV").partition("=")
    user = last("USER").split(":")[0]
    made = next(part.split() for part in last("RUN").split("&&") if "install --dir" in part)
    assert made[-1] == directory
    assert {f"--owner={user}", "--mode=0700"} <= set(made)
    config = AdminConfig()
    assert token_path(config, config.bind, {name: directory}).parent == Path(directory)


def test_what_it_runs_is_words_and_not_a_shell() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["tcplb"]
    command = json.loads(last("CMD"))
    assert command[0] in main.list_commands(click.Context(main))
    flags, _, health = last("HEALTHCHECK").partition(" CMD ")
    assert json.loads(health) == ["tcplb", "ctl", "health"]
    flag = dict(word.lstrip("-").split("=") for word in shlex.split(flags))
    # Python has to start, too.
    assert parse_duration(flag["timeout"]) > PROBE_TIME + 1


def test_it_can_be_reached_and_stopped() -> None:
    assert last("EXPOSE").split()[0] == json.loads(last("CMD"))[-1].lstrip(":")
    assert last("STOPSIGNAL") == "SIGTERM"
