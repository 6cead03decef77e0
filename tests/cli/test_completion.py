from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tcplb.policy.names import StrategyName
from tests.cli.invoke import invoke
from tests.processes import WAIT

SHELLS = ["bash", "zsh", "fish"]
SCRIPT = Path(sys.executable).parent / "tcplb"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_asks_tcplb_and_binds_to_it(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_TCPLB_COMPLETE={shell}_complete" in result.stdout
    assert "_tcplb_completion" in result.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_can_read_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"not installed: {shell}")
    script = invoke("completion", shell).stdout
    done = subprocess.run(
        [shell, "-n"], input=script, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [(), ("tcsh",)])
def test_a_shell_that_is_known_is_needed(arguments: tuple[str, ...]) -> None:
    result = invoke("completion", *arguments)
    assert result.exit_code == 2
    assert "bash" in result.stderr


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("tcplb s", ["serve", "simulate"]),
        ("tcplb c", ["check", "completion", "config", "ctl"]),
        ("tcplb serve --stra", ["--strategy"]),
        ("tcplb serve --strategy ", [name.value for name in StrategyName]),
        ("tcplb config s", ["schema", "show"]),
    ],
)
def test_what_is_offered_for_the_last_word(words: str, offers: list[str]) -> None:
    asked = {
        "_TCPLB_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    assert invoke(environment=asked).stdout.split() == [f"plain,{offer}" for offer in offers]


# Where tcplb is run from a checkout without an install, there is nothing that a shell could ask.
@pytest.mark.skipif(
    not SCRIPT.exists(), reason="the `tcplb` command is not installed beside python"
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="not installed: bash")
def test_bash_completes_with_the_script() -> None:
    press_tab = (
        'eval "$(tcplb completion bash)"; COMP_WORDS=(tcplb serve --hash-k); COMP_CWORD=2; '
        "_tcplb_completion tcplb; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", press_tab],
        env=os.environ | {"PATH": f"{SCRIPT.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("--hash-key\n", "")
