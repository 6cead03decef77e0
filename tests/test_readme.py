"""Runs every command of the README, in its order, and compares what it says they print."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import WAIT, Running

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent
PORTS = (8081, 8082, 8083, 8084, 9090, 9091)
BIN = Path(sys.executable).parent

SERVERS = {
    "make demo": r"\^C stops everything",
    "tcplb serve --strategy hash": r"listening on",
    "echo-backends": r"^backend ",
}
"""What goes on running, and what it prints when it is ready."""

ELSEWHERE = {
    "make test": "is what runs this test",
    "pip install .": "is run by tests/test_packaging.py",
    "tcplb bench": "takes half a minute; tests/cli/test_bench.py runs it, but shorter",
}


@dataclass(frozen=True)
class Block:
    """Commands of one ``sh`` block, and the ``text`` block right behind it, if any."""

    section: str
    commands: tuple[str, ...]
    expected: str | None


def blocks() -> Iterator[Block]:
    text = (ROOT / "README.md").read_text()
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        for match in re.finditer(
            r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", section, flags=re.MULTILINE | re.DOTALL
        ):
            yield Block(title, tuple(match[1].splitlines()), match[2])


@pytest.mark.xdist_group("the usual ports")
def test_every_command_of_the_readme() -> None:
    taken = [port for port in PORTS if _is_taken(port)]
    if taken:
        pytest.skip(f"the README's ports are in use on this machine: {taken}")
    missing = [tool for tool in ("curl", "nc", "make", "pkill") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    walked = 0
    with ExitStack() as servers:
        running_section = ""
        for block in blocks():
            if block.section == "Run it" and running_section != block.section:
                servers.close()  # what the sections before it left running
            running_section = block.section
            output = "".join(_run(command, servers) for command in block.commands)
            if block.expected is not None:
                assert output == block.expected, block.commands
            walked += len(block.commands)
    assert walked > 15


def _run(command: str, servers: ExitStack) -> str:
    """Run one command; return what it printed, or start it if it is a server."""
    command = command.removesuffix(" &")
    if command in ELSEWHERE:
        return ""
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "TCPLB_ADMIN_BIND": "127.0.0.1:9091",  # which the other tests do without
    }
    for start, ready in SERVERS.items():
        if command.startswith(start):
            server = servers.enter_context(Running(["bash", "-c", f"exec {command}"], environment))
            server.wait_for(ready, count=4 if "8081-8084" in command else 1)
            return ""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def _is_taken(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_the_toml_of_the_readme_is_fine(tmp_path: Path) -> None:
    found = re.findall(
        r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert found
    for text in found:
        file = tmp_path / "tcplb.toml"
        file.write_text(text)
        subprocess.run([sys.executable, "-m", "tcplb", "check", file], check=True)


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
