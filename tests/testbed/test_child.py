from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tcplb.testbed.child import Child, OnLine, in_words
from tcplb.testbed.errors import BedError, PortTakenError
from tests.processes import WAIT, Running, eventually
from tests.testbed.conftest import Leftovers
from tests.testbed.heard import Heard

SLEEP = "import time; print('ready', flush=True); time.sleep(1000)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


def python(
    script: str,
    *,
    on_stdout: OnLine | None = None,
    on_stderr: OnLine | None = None,
    on_end: Heard[int] | None = None,
    environment: dict[str, str] | None = None,
    start_time: float = 30.0,
    stop_time: float = 30.0,
) -> Child:
    return Child(
        "the script",
        [sys.executable, "-c", script],
        ready="^ready(.*)$",
        on_stdout=on_stdout or Heard[str](),
        on_stderr=on_stderr or Heard[str](),
        on_end=on_end,
        environment=environment,
        start_time=start_time,
        stop_time=stop_time,
    )


async def test_its_lines_are_handed_over_those_before_it_was_ready_too() -> None:
    out, err = Heard[str](), Heard[str]()
    script = (
        "import os; os.write(2, b'one\\n'); os.write(1, b'two\\nready 7\\nth'); "
        "os.write(1, b'ree \\xff\\n\\nno end'); os.write(2, b'four\\n')"
    )
    child = python(script, on_stdout=out, on_stderr=err)
    match = await child.start()
    assert match[1] == " 7"
    assert await child.wait() == 0
    assert out.all == ["two", "ready 7", "three \N{REPLACEMENT CHARACTER}", "", "no end"]
    assert err.all == ["one", "four"]


async def test_a_line_that_is_longer_than_any_buffer() -> None:
    out = Heard[str]()
    child = python("print('ready'); print('x' * 1_000_000)", on_stdout=out)
    await child.start()
    await child.wait()
    assert [len(line) for line in out.all] == [5, 1_000_000]


async def test_one_that_ends_before_it_is_ready_is_an_error_with_what_it_said() -> None:
    out, end = Heard[str](), Heard[int]()
    script = "import sys; print('{\"a\": 1}'); print('no'); sys.exit(3)"
    with pytest.raises(BedError) as raised:
        await python(script, on_stdout=out, on_end=end).start()
    assert str(raised.value) == "the script did not start (exit code 3): no"
    assert not isinstance(raised.value, PortTakenError)
    assert out.all == []
    assert end.all == []


@pytest.mark.parametrize(
    ("code", "reason", "taken"),
    [(4, "in use", True), (4, "not permitted", False), (1, "in use", False)],
)
async def test_a_port_in_use_is_an_error_of_its_own(code: int, reason: str, taken: bool) -> None:
    with pytest.raises(BedError, match=reason) as raised:
        await python(f"import sys; print('{reason}'); sys.exit({code})").start()
    assert isinstance(raised.value, PortTakenError) is taken


async def test_one_that_is_not_ready_in_time_is_ended(leftovers: Leftovers) -> None:
    with pytest.raises(BedError, match=r"^the script was not ready in 0.2 s$"):
        await python("import time; time.sleep(1000)", start_time=0.2).start()
    assert leftovers() == []


async def test_a_start_that_is_cancelled_leaves_nothing(leftovers: Leftovers) -> None:
    child = python("import time; time.sleep(1000)")
    start = asyncio.create_task(child.start(), name="start")
    await asyncio.to_thread(eventually, lambda: leftovers() != [])
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert leftovers() == []


@pytest.mark.parametrize("turns", range(12))
async def test_a_start_that_is_cancelled_twice_leaves_nothing(
    turns: int, leftovers: Leftovers
) -> None:
    start = asyncio.create_task(python(SLEEP).start(), name="start")
    for _ in range(turns):  # of the loop: it has come more or less far
        await asyncio.sleep(0)
    start.cancel()
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=WAIT)  # they end by themselves
    assert leftovers() == []
    gc.collect()  # what was left open warns now, and a warning is an error


async def test_it_ends_on_sigterm(leftovers: Leftovers) -> None:
    child = python(SLEEP)
    await child.start()
    assert leftovers() == [child.pid]
    await child.stop()
    assert child.code == -signal.SIGTERM
    assert leftovers() == []
    await child.stop()  # again is fine


async def test_one_that_ignores_sigterm_is_killed_with_its_children(leftovers: Leftovers) -> None:
    script = (  # its child says that it is ready
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).wait()"
    )
    child = python(script, stop_time=0.2)
    await child.start()
    assert len(leftovers()) == 2
    await child.stop()
    assert child.code == -signal.SIGKILL
    await asyncio.to_thread(eventually, lambda: leftovers() == [])  # init reaps the grandchild


async def test_a_stop_that_is_cancelled_kills_at_once(leftovers: Leftovers) -> None:
    child = python(STUBBORN)
    await child.start()
    stop = asyncio.create_task(child.stop(), name="stop")
    await asyncio.sleep(0)  # it begins
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert child.code == -signal.SIGKILL
    assert leftovers() == []


async def test_its_end_is_told_of_if_it_ends_by_itself() -> None:
    end = Heard[int]()
    child = python(SLEEP, on_end=end)
    await child.start()
    assert child.code is None
    os.kill(child.pid, signal.SIGKILL)
    assert await end.wait_for(lambda code: True) == -signal.SIGKILL
    assert await child.wait() == child.code == -signal.SIGKILL


async def test_its_end_is_not_told_of_if_that_was_us() -> None:
    end = Heard[int]()
    killed, stopped = python(SLEEP, on_end=end), python(SLEEP, on_end=end)
    await killed.start()
    await stopped.start()
    await killed.kill()
    assert killed.code == -signal.SIGKILL
    await stopped.stop()
    assert end.all == []


async def test_it_is_in_a_session_of_its_own() -> None:
    child = python(SLEEP)
    await child.start()
    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
    await child.stop()


async def test_settings_of_the_user_are_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCPLB_STRATEGY", "hash")
    monkeypatch.setenv("OTHER", "other")
    out = Heard[str]()
    script = (
        "import json, os; print('ready'); "
        "print(json.dumps({k: v for k, v in os.environ.items() if 'TCPLB' in k or k == 'OTHER'}))"
    )
    child = python(script, on_stdout=out, environment={"TCPLB_WORKERS": "2"})
    await child.start()
    await child.wait()
    assert json.loads(out.all[1]) == {"OTHER": "other", "TCPLB_WORKERS": "2"}


async def test_an_error_of_a_callback_comes_out_when_it_is_stopped(leftovers: Leftovers) -> None:
    def fail(line: str) -> None:
        raise RuntimeError(line)

    child = python(SLEEP, on_stdout=fail)
    await child.start()
    with pytest.raises(RuntimeError, match="ready"):
        await child.stop()
    assert leftovers() == []


async def test_one_that_was_not_started() -> None:
    child = python(SLEEP)
    await child.stop()
    await child.kill()
    with pytest.raises(BedError, match="has not been started"):
        await child.wait()
    with pytest.raises(BedError, match="has not been started"):
        _ = child.pid


PARENT = f"""
import asyncio, sys
from tcplb.testbed.child import Child

async def main():
    command = [sys.executable, "-c", {SLEEP!r}]
    child = Child("x", command, ready="ready", on_stdout=print, on_stderr=print)
    await child.start()
    print("pid", child.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of that")
def test_it_ends_if_we_are_killed() -> None:
    with Running([sys.executable, "-c", PARENT]) as parent:
        child = int(parent.wait_for(r"^pid (\d+)")[0][1])
        assert set(parent.mark.processes()) == {parent.process.pid, child}
        parent.signal(signal.SIGKILL)
        eventually(lambda: parent.mark.processes() == {})


def test_one_whose_parent_is_gone_already_does_not_begin() -> None:
    import tcplb.testbed.pdeathsig as launcher

    command = [sys.executable, str(launcher.__file__), "1", sys.executable, "-c", "print('begun')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if sys.platform == "linux":
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "the parent is gone\n")
    else:
        assert done.stdout == "begun\n"


@pytest.mark.parametrize(
    ("started", "here"),
    [(("-m", "probe"), True), (("probe.py",), True), (("-P", "probe.py"), False)],
)
def test_modules_are_looked_for_where_ours_were_found(
    started: tuple[str, ...], here: bool, tmp_path: Path
) -> None:
    (tmp_path / "probe.py").write_text(
        "from tcplb.testbed.child import module; print(*module('echo_backends', '--ports', '0'))"
    )
    command = [sys.executable, *started]
    answer = subprocess.check_output(command, cwd=tmp_path, text=True, timeout=30)
    flags = "" if here else "-P "
    assert answer == f"{sys.executable} {flags}-m echo_backends --ports 0\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (4, "exit code 4"), (-9, "killed by SIGKILL"), (-40, "by signal 40")],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert words in in_words(code)
