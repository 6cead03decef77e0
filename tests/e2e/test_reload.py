"""Another configuration while connections are open, with real workers and signals."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.admin import admin_of, environment
from tests.e2e.reloading import (
    File,
    backends,
    descriptors,
    hang_up,
    listening_port,
    on,
    reload,
    reload_fails,
    serving,
    stop,
    talking,
)
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.e2e.test_workers import Load, client_of, until_workers
from tests.processes import WAIT, Running, echoed, eventually, tcplb, visit

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("workers", [1, 2])]

ROUNDS = 12
ONCE = '[pools.web.eject]\nfailures = 1\nbase_time = "1h"\nmax_time = "1h"\n'


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


@pytest.fixture
def port() -> int:
    return listening_port()


@pytest.fixture
def servers() -> Iterator[list[Counting]]:
    with counting_backends(3) as counting:
        yield list(counting)


def visits(port: int, servers: list[Counting], host: str = "127.0.0.1") -> list[int]:
    """Make a round of connections; return how many came to each server."""
    before = [server.total for server in servers]
    for _ in range(ROUNDS):
        with talking(port, host):
            pass
    return [server.total - old for server, old in zip(servers, before, strict=True)]


def ejections(lb: Running) -> int:
    return lb.output.count(" ejected for ")


# -- backends -----------------------------------------------------------------------------------


def test_backends_come_and_go_and_their_sessions_stay(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    a, b, c = (server.port for server in servers)
    file.say({"x": on(port)}, {"web": backends("web", a=a)})
    with serving(file, workers) as lb, talking(port) as first:
        file.say({"x": on(port)}, {"web": backends("web", a=a, b=b)})
        said = reload(lb)
        assert "reloaded: 1 change" in said
        assert f"+ pools.web.backends.b: 127.0.0.1:{b}" in lb.wait_for("web.backends.b:")[0].string
        assert 0 not in visits(port, servers[:2])
        file.say({"x": on(port)}, {"web": backends("web", c=c)})
        reload(lb)
        assert visits(port, servers) == [0, 0, ROUNDS]
        echoed(first)
        first.close()
        lb.wait_for(r" x web/a .* -- \d")
        file.say({"x": on(port)}, {"web": backends("web", a=a)})
        reload(lb)
        assert visits(port, servers) == [ROUNDS, 0, 0]
        stop(lb)


def test_another_weight_and_another_strategy(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    a, b, c = (server.port for server in servers)
    web = backends("web", a=a, b=b, c=c)
    file.say({"x": on(port)}, {"web": web})
    with serving(file, workers) as lb, talking(port) as client:
        assert 0 not in visits(port, servers)
        none = {"a": "weight = 0\n", "c": "weight = 0\n"}
        file.say({"x": on(port)}, {"web": backends("web", none, a=a, b=b, c=c)})
        reload(lb)
        assert visits(port, servers) == [0, ROUNDS, 0]
        file.say({"x": on(port)}, {"web": f'strategy = "hash"\nhash_key = "client"\n{web}'})
        reload(lb)
        assert sorted(visits(port, servers)) == [0, 0, ROUNDS]
        file.say({"x": on(port)}, {"web": f'strategy = "round-robin"\n{web}'})
        reload(lb)
        assert 0 not in visits(port, servers)
        echoed(client)
        client.close()
        stop(lb)


def test_an_ejection_goes_on(file: File, port: int, servers: list[Counting], workers: int) -> None:
    b, c, d = (server.port for server in servers)
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        a = dead.getsockname()[1]
        file.say({"x": on(port)}, {"web": ONCE + backends("web", a=a, b=b)})
        with serving(file, workers) as lb:
            for _ in range(2 * workers):
                visit(port)
            lb.wait_for("backend a ejected for")
            visits(port, servers)
            known = ejections(lb)
            file.say({"x": on(port)}, {"web": ONCE + backends("web", a=a, b=b, c=c)})
            reload(lb)
            visits(port, servers)
            os.kill(lb.children()[0], signal.SIGKILL)  # and its successor hears of it
            lb.wait_for("another one starts")
            until_workers(lb, workers)
            visits(port, servers)
            assert ejections(lb) == known
            # Under its name there is another one now, of whom nobody has said anything.
            file.say({"x": on(port)}, {"web": ONCE + backends("web", a=d, b=b, c=c)})
            reload(lb)
            assert visits(port, servers)[2] > 0
            stop(lb)


def test_what_a_worker_finds_of_another_backend_before_it_has_heard_of_the_reload(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    side = listening_port()
    b, c, _ = (server.port for server in servers)
    heavy = dict.fromkeys("ab", "weight = 200\n")
    keyed = 'strategy = "hash"\nhash_key = "client"\n'

    def pool(a: int) -> dict[str, str]:
        return {"web": f"{keyed}{backends('web', heavy, a=a, b=b)}{ONCE}"}

    with socket.socket() as dead, ExitStack() as stack:
        dead.bind(("127.0.0.1", 0))
        file.say({"x": on(port), "y": on(side)}, pool(dead.getsockname()[1]))
        with serving(file, workers) as lb:
            held = lb.children()
            for worker in held:
                os.kill(worker, signal.SIGSTOP)
            clients = [
                stack.enter_context(
                    socket.create_connection(
                        ("127.0.0.1", port), timeout=WAIT, source_address=(f"127.0.9.{n}", 0)
                    )
                )
                for n in range(1, 31)
            ]
            file.say({"x": on(port)}, pool(c))
            before = descriptors(lb.process.pid)
            lb.signal(signal.SIGHUP)
            eventually(lambda: descriptors(lb.process.pid) < before)  # it goes by the new file
            for worker in held:
                os.kill(worker, signal.SIGCONT)
            for client in clients:
                echoed(client)
                client.close()
            lb.wait_for("backend a ejected for")  # the one of before
            lb.wait_for("tcplb.reload: reloaded")
            for worker in lb.children():
                os.kill(worker, signal.SIGKILL)
            lb.wait_for("another one starts", count=workers)
            until_workers(lb, workers)
            for n in range(1, 31):
                source = (f"127.0.9.{n}", 0)
                with socket.create_connection(("127.0.0.1", port), WAIT, source) as client:
                    echoed(client)
            assert servers[1].total > 0
            stop(lb)


def test_what_checks_have_found_goes_on_as_long_as_it_is_the_same_backend(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    a, b, c = (server.port for server in servers)
    check = '[pools.web.check]\ninterval = "50ms"\nfast_interval = "20ms"\nrise = 100\n'
    with socket.socket() as dead, socket.create_server(("127.0.0.1", 0)) as alive:
        dead.bind(("127.0.0.1", 0))
        ports = {
            "a": f"check_port = {dead.getsockname()[1]}\n",
            **{name: f"check_port = {alive.getsockname()[1]}\n" for name in "bc"},
        }
        file.say({"x": on(port)}, {"web": check + backends("web", ports, a=a, b=b)})
        with serving(file, workers) as lb:
            lb.wait_for("backend a is down")
            # The news is on its way to the workers.
            eventually(lambda: visits(port, servers)[0] == 0)
            file.say({"x": on(port)}, {"web": check + backends("web", ports, a=a, b=b, c=c)})
            reload(lb)
            assert visits(port, servers)[0] == 0
            heavier = check.replace("100", "99") + backends("web", ports, a=a, b=b)
            file.say({"x": on(port)}, {"web": heavier})
            reload(lb)
            assert visits(port, servers)[0] == 0
            assert lb.output.count("backend a is down") == 1
            # Another one of that name: it is found to be down anew, by the same port.
            file.say({"x": on(port)}, {"web": check + backends("web", ports, a=c, b=b)})
            reload(lb)
            lb.wait_for("backend a is down", count=2)
            file.say({"x": on(port)}, {"web": backends("web", ports, a=c, b=b)})
            reload(lb)
            lb.wait_for("backend a is up, as far as anybody knows")
            eventually(lambda: visits(port, servers)[2] > 0)
            stop(lb)


def test_a_drain_lasts_until_the_file_ends_it(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    a, b, c = (server.port for server in servers)
    file.say({"x": on(port)}, {"web": backends("web", a=a)})
    with serving(file, workers) as lb, talking(port) as client:
        drained = {"a": 'state = "draining"\n'}
        file.say({"x": on(port)}, {"web": backends("web", drained, a=a, b=b)})
        reload(lb)
        assert visits(port, servers) == [0, ROUNDS, 0]
        file.say({"x": on(port)}, {"web": backends("web", drained, a=a, b=b, c=c)})
        reload(lb)
        assert visits(port, servers)[0] == 0
        echoed(client)
        file.say({"x": on(port)}, {"web": backends("web", a=a, b=b)})
        reload(lb)
        assert visits(port, servers)[0] > 0
        client.close()
        stop(lb)


# -- listeners ----------------------------------------------------------------------------------


def test_a_listener_is_opened_moved_and_closed(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    side = listening_port()
    pools = {"web": backends("web", a=servers[0].port), "api": backends("api", b=servers[1].port)}
    file.say({"x": on(port)}, pools)
    with serving(file, workers) as lb, talking(port) as client:
        file.say({"x": on(port), "y": on(side)}, pools)
        reload(lb)
        lb.wait_for(rf"listening on 127\.0\.0\.1:{side}: listener y, pool web")
        assert visits(side, servers) == [ROUNDS, 0, 0]
        with talking(side) as other:
            file.say({"x": on(port, "api"), "y": on(side, "api")}, pools)
            reload(lb)
            assert visits(port, servers) == [0, ROUNDS, 0]
            assert visits(side, servers) == [0, ROUNDS, 0]
            file.say({"x": on(port, "api")}, {"api": pools["api"]})
            reload(lb)
            with pytest.raises(ConnectionRefusedError):
                client_of(side)
            for each in (client, other):
                echoed(each)
                each.close()
        lb.wait_for(r" x web/a .* -- ")
        lb.wait_for(r" y web/a .* -- ")
        stop(lb)


def test_what_comes_after_a_plan_that_takes_long_to_prepare_goes_by_it(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    side = listening_port()
    a, b, c = (server.port for server in servers)
    heavy = dict.fromkeys("abc", "weight = 256\n")
    web = f'strategy = "hash"\nhash_key = "client"\n{backends("web", heavy, a=a, b=b, c=c)}'
    file.say({"x": on(port)}, {"web": backends("web", a=a)})
    with serving(file, workers) as lb, talking(port) as client:
        # The sockets of the new listener come while the workers make a ring of many points.
        file.say({"x": on(port), "y": on(side)}, {"web": web})
        reload(lb)
        assert sorted(visits(side, servers)) == [0, 0, ROUNDS]
        echoed(client)
        client.close()
        # And another plan before that: the last one counts.
        for strategy in ("round-robin", "hash", "first"):
            file.say({"x": on(port)}, {"web": web.replace('"hash"', f'"{strategy}"')})
            lb.signal(signal.SIGHUP)
        lb.wait_for(r"strategy: .* → first")
        assert "reloaded: no changes" in hang_up(lb)
        assert visits(port, servers) == [ROUNDS, 0, 0]
        stop(lb)


def test_who_waits_in_the_queue_of_a_listener_that_is_closed_is_served(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    side = listening_port()
    web = {"web": backends("web", a=servers[0].port)}
    file.say({"x": on(port), "y": on(side)}, web)
    with serving(file, workers) as lb, ExitStack() as stack:
        held = lb.children()
        for worker in held:
            os.kill(worker, signal.SIGSTOP)
        clients = [stack.enter_context(client_of(side)) for _ in range(100)]
        file.say({"x": on(port)}, web)
        before = descriptors(lb.process.pid)
        lb.signal(signal.SIGHUP)
        eventually(lambda: descriptors(lb.process.pid) < before)  # it has closed its own
        for worker in held:
            os.kill(worker, signal.SIGCONT)
        for client in clients:
            echoed(client)
            client.close()
        lb.wait_for("tcplb.reload: reloaded")
        with pytest.raises(ConnectionRefusedError):
            client_of(side)
        stop(lb)


def test_a_listener_with_another_name_loses_nobody(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    web = {"web": backends("web", a=servers[0].port)}
    file.say({"x": on(port)}, web)
    with serving(file, workers, "--access-log", "none") as lb:
        with talking(port) as client, Load.on(port) as load:
            for name in ("y", "z", "x"):
                file.say({name: on(port, more="max_connections = 900\n")}, web)
                reload(lb)
                load.wait_for_more()
            echoed(client)
        assert load.errors == []
        stop(lb)


@pytest.mark.parametrize("other", ["127.0.0.2", "0.0.0.0"])
def test_another_address_with_the_same_port(
    file: File, port: int, servers: list[Counting], workers: int, other: str
) -> None:
    web = {"web": backends("web", a=servers[0].port)}
    file.say({"x": on(port)}, web)
    with serving(file, workers) as lb, talking(port) as client:
        for _ in range(2):
            file.say({"x": on(port).replace("127.0.0.1", other)}, web)
            reload(lb)
            assert visits(port, servers, "127.0.0.2")[0] == ROUNDS
            if other == "127.0.0.2":
                with pytest.raises(ConnectionRefusedError):
                    client_of(port)
            file.say({"x": on(port)}, web)
            reload(lb)
            assert visits(port, servers)[0] == ROUNDS
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port), timeout=WAIT)
        echoed(client)
        client.close()
        stop(lb)


def test_other_time_outs_are_for_new_sessions(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    web = {"web": backends("web", a=servers[0].port)}
    file.say({"x": on(port)}, web)
    with serving(file, workers) as lb, talking(port) as old:
        file.say({"x": on(port, more='idle_timeout = "100ms"\n')}, web)
        said = reload(lb)
        assert "reloaded: 1 change" in said
        with talking(port) as new:
            assert new.recv(100) == b""
        echoed(old)
        old.close()
        stop(lb)


# -- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["listener", "all"])
def test_another_limit_counts_those_who_are_in(
    file: File, port: int, servers: list[Counting], workers: int, whose: str
) -> None:
    web = {"web": backends("web", a=servers[0].port)}

    def say(limit: int) -> None:
        more = f"max_connections = {limit}\n"
        if whose == "listener":
            file.say({"x": on(port, more=more)}, web)
        else:
            file.say({"x": on(port)}, web, f"[limits]\n{more}")

    say(2)
    with serving(file, workers) as lb, ExitStack() as stack:
        inside = [stack.enter_context(talking(port)) for _ in range(2)]
        waiting = [stack.enter_context(client_of(port)) for _ in range(2)]
        for client in waiting:
            client.sendall(b"\x01")
        lb.wait_for(r"max_connections reached \(2\)")
        say(3)
        reload(lb)
        eventually(lambda: servers[0].open == 3)
        say(1)
        reload(lb)
        for client in inside:
            client.close()
        # One of those who waited is in. The other one has to wait until there is nobody.
        eventually(lambda: servers[0].open == 1)
        say(2)
        reload(lb)
        for client in waiting:
            assert client.recv(1) == b"\x01"
            client.close()
        stop(lb)


# -- what is wrong ------------------------------------------------------------------------------

BAD = {
    "syntax": ("[[listeners", "is not valid TOML"),
    "unknown key": ("{good}\n[limits]\nmax_conections = 5\n", "max_conections"),
    "missing pool": ('{good}\n[[listeners]]\nname = "y"\npool = "api"\n', "api"),
    "taken port": ('{good}\n[[listeners]]\nname = "y"\nbind = "127.0.0.1:{taken}"\n', "{taken}"),
    "strategy": ('{good}\n[pools.api]\nstrategy = "nowhere_at_all:f"\n{api}', "nowhere_at_all"),
}


@pytest.mark.parametrize("kind", [*BAD, "no file"])
def test_a_bad_file_changes_nothing_and_says_why(
    file: File, port: int, servers: list[Counting], workers: int, kind: str
) -> None:
    web = {"web": backends("web", a=servers[0].port)}
    file.say({"x": on(port)}, web)
    good = file.path.read_text()
    with (
        serving(file, workers) as lb,
        talking(port) as client,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        taken = other.getsockname()[1]
        if kind == "no file":
            file.path.unlink()
            reason = "no such file"
        else:
            text, reason = (
                each.format(good=good, taken=taken, api=backends("api", b=servers[1].port))
                for each in BAD[kind]
            )
            file.write(text)
        before = descriptors(lb.process.pid)
        for _ in range(2):
            assert reason in reload_fails(lb)
        assert visits(port, servers) == [ROUNDS, 0, 0]
        assert descriptors(lb.process.pid) == before
        echoed(client)
        client.close()
        file.write(good)
        assert "reloaded: no changes" in hang_up(lb)
        stop(lb)


def test_what_needs_a_restart_is_named(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    web = {"web": backends("web", a=servers[0].port)}
    file.say({"x": on(port)}, web)
    with serving(file, workers) as lb:
        file.say({"x": on(port)}, web, '[log]\nformat = "json"\nlevel = "debug"\n')
        reload(lb)
        lb.wait_for(r"warning .*log\.format: text → json \(needs a restart: ")
        lb.wait_for(r"info .*log\.level: info → debug$")
        file.say({"x": on(port)}, web, '[log]\nformat = "json"\nlevel = "warning"\n')
        lb.signal(signal.SIGHUP)
        lb.wait_for(r"warning .*log\.format: text → json \(needs a restart: ", count=2)
        stop(lb)
        assert "stopped after" not in lb.output  # which is at info


def test_a_worker_that_cannot_go_by_it_says_so_and_serves_on(
    file: File, port: int, servers: list[Counting], workers: int, tmp_path: Path
) -> None:
    web = backends("web", a=servers[0].port)
    code = "import sys\nassert 'tcplb.control.worker' not in sys.orig_argv, 'not here'\n"
    (tmp_path / "picky.py").write_text(code + "def pick(key, backends):\n    return None\n")
    file.say({"x": on(port)}, {"web": web})
    here = Path(__file__).parents[2]
    paths = {"PYTHONPATH": f"{here}{os.pathsep}{tmp_path}"}
    flags = ("--config", str(file.path), "--workers", str(workers))
    with tcplb("serve", *flags, environment=environment() | paths) as lb:
        lb.wait_for("listening on")
        file.say({"x": on(port)}, {"web": f'strategy = "picky:pick"\n{web}'})
        notes = admin_of(lb).do("POST", "reload", dry_run=False)["notes"]
        assert len(notes) == workers
        assert "worker 1 goes on by the settings of before" in notes[0]
        lb.wait_for(r"worker \d goes on by the settings of before: .*not here", count=workers)
        assert visits(port, servers) == [ROUNDS, 0, 0]
        stop(lb)
        assert "Traceback" not in lb.output


# -- workers ------------------------------------------------------------------------------------


def test_a_worker_that_starts_during_a_reload_goes_by_it(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    a, b, c = (server.port for server in servers)
    file.say({"x": on(port)}, {"web": backends("web", a=a)})
    with serving(file, workers) as lb:
        for worker in lb.children():
            os.kill(worker, signal.SIGKILL)
        lb.wait_for("another one starts", count=workers)
        file.say({"x": on(port)}, {"web": backends("web", b=b)})
        reload(lb)
        assert visits(port, servers) == [0, ROUNDS, 0]
        # And one that is killed right after it.
        file.say({"x": on(port)}, {"web": backends("web", c=c)})
        lb.signal(signal.SIGHUP)
        for worker in lb.children():
            os.kill(worker, signal.SIGKILL)
        lb.wait_for("tcplb.reload: reloaded", count=2)
        until_workers(lb, workers)
        assert visits(port, servers) == [0, 0, ROUNDS]
        stop(lb)


def test_more_and_fewer_workers(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    web = {"web": backends("web", a=servers[0].port)}

    def say(number: int) -> None:
        file.say({"x": on(port)}, web, f"workers = {number}\n")

    say(workers)
    with tcplb("serve", "--config", str(file.path), "--access-log", "none") as lb:
        lb.wait_for("listening on")
        with Load.on(port) as load:
            for number in (3, workers):
                say(number)
                reload(lb)
                load.wait_for_more()
                until_workers(lb, number)
                load.wait_for_more()
        assert load.errors == []
        stop(lb)
        assert "Traceback" not in lb.output


def test_many_signals_at_once_are_a_few_reloads(
    file: File, port: int, servers: list[Counting], workers: int
) -> None:
    file.say({"x": on(port)}, {"web": backends("web", a=servers[0].port)})
    with serving(file, workers) as lb:
        file.say({"x": on(port)}, {"web": backends("web", b=servers[1].port)})
        for _ in range(100):
            lb.signal(signal.SIGHUP)
        lb.wait_for("tcplb.reload: reloaded: 2 changes")
        assert visits(port, servers) == [0, ROUNDS, 0]
        assert "failed" not in lb.output
        stop(lb)
