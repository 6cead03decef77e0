"""The balancers that are compared: what each is called, and how it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import configs
from bench.processes import SkippedError, clean_environment


@dataclass(frozen=True)
class Place:
    """Where a candidate runs: its port, its backends' ports, and a directory for its files."""

    port: int
    backends: Sequence[int]
    directory: Path
    max_connections: int


@dataclass(frozen=True)
class Launch:
    """What to execute."""

    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One balancer with one setting."""

    name: str
    about: str
    prepare: Callable[[Place], Launch]
    """Writes the files that it needs. Raises SkippedError."""
    version_command: Sequence[str]
    only_in: str = ""
    """The only scenario it takes part in unless it is named: a log is written for connections."""
    descriptors: int = 2
    """Open files that an idle pair takes."""

    def version(self) -> str:
        """Return the first line of what it says of its version. Raises SkippedError."""
        program(self.version_command[0])
        done = subprocess.run(
            self.version_command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
            env=clean_environment(),
        )
        return done.stdout.partition("\n")[0].strip()


def program(name: str) -> str:
    """Return the path of a program. Raises SkippedError if it is not installed."""
    # Debian keeps servers where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise SkippedError(f"{name} is not installed")
    return found


def tcplb(engine: str, *flags: str, log: bool = True) -> Callable[[Place], Launch]:
    """Return how to start tcplb, with everything on and nothing but the log left out."""

    def prepare(place: Place) -> Launch:
        access_log = str(place.directory / "access.log") if log else "none"
        backends = [f"--backend=127.0.0.1:{port}" for port in place.backends]
        serve = [sys.executable, "-m", "tcplb", "serve", f"--listen=127.0.0.1:{place.port}"]
        settings = [f"--engine={engine}", f"--access-log={access_log}", "--drain-timeout=1s"]
        settings.append("--admin-bind=none")  # there may be another tcplb that has the usual one
        return Launch([*serve, *backends, *settings, *flags])

    return prepare


def _haproxy(*, splice: bool = False, log: bool = False) -> Callable[[Place], Launch]:
    def prepare(place: Place) -> Launch:
        path = place.directory / "haproxy.cfg"
        path.write_text(
            configs.haproxy(
                place.port, place.backends, place.max_connections, splice=splice, log=log
            )
        )
        return Launch([program("haproxy"), "-db", "-f", str(path)])

    return prepare


def _nginx(place: Place) -> Launch:
    path = place.directory / "nginx.conf"
    directory = str(place.directory)
    path.write_text(configs.nginx(place.port, place.backends, place.max_connections, directory))
    return Launch([program("nginx"), "-c", str(path), "-p", directory, "-e", "stderr"])


def _go(place: Place) -> Launch:
    # Built once a run: the directory of all the candidates' directories outlives them.
    built = place.directory.parent / "go_balancer"
    if not built.exists():
        _build_go(built)
    backends = [f"127.0.0.1:{port}" for port in place.backends]
    return Launch([str(built), f"127.0.0.1:{place.port}", *backends], {"GOMAXPROCS": "1"})


def _build_go(built: Path) -> None:
    source = Path(__file__).parent / "go_balancer" / "main.go"
    cache = {} if "HOME" in os.environ else {"GOCACHE": str(built.with_name("go-cache"))}
    done = subprocess.run(
        [program("go"), "build", "-o", str(built), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=clean_environment(cache | {"GO111MODULE": "off"}),
    )
    if done.returncode != 0:
        raise SkippedError(f"go build failed: {done.stderr.strip()[-200:]}")


def _naive(place: Place) -> Launch:
    ports = map(str, (place.port, *place.backends))
    return Launch([sys.executable, "-m", "bench.naive", *ports])


def _tcplb_candidate(
    name: str, about: str, prepare: Callable[[Place], Launch], only_in: str = ""
) -> Candidate:
    return Candidate(name, about, prepare, (sys.executable, "-m", "tcplb", "--version"), only_in)


def _haproxy_candidate(
    name: str, about: str, prepare: Callable[[Place], Launch], only_in: str = ""
) -> Candidate:
    return Candidate(name, about, prepare, ("haproxy", "-v"), only_in)


HAPROXY = _haproxy_candidate("haproxy", "one thread, no log", _haproxy())

CANDIDATES = (
    _tcplb_candidate("tcplb-splice", "engine splice, access log to a file", tcplb("splice")),
    _tcplb_candidate(
        "tcplb-splice-nolog", "engine splice, no log", tcplb("splice", log=False), "connect"
    ),
    _tcplb_candidate("tcplb-streams", "engine streams, access log to a file", tcplb("streams")),
    _tcplb_candidate(
        "tcplb-streams-nolog", "engine streams, no log", tcplb("streams", log=False), "connect"
    ),
    HAPROXY,
    _haproxy_candidate(
        "haproxy-splice",
        "option splice-auto and splice-response, no log",
        _haproxy(splice=True),
    ),
    _haproxy_candidate("haproxy-log", "option tcplog, to a file", _haproxy(log=True), "connect"),
    Candidate("nginx", "stream module, one worker, no log", _nginx, ("nginx", "-v")),
    Candidate(
        "go",
        "io.Copy, GOMAXPROCS=1, no log, nothing else",
        _go,
        ("go", "version"),
        descriptors=6,  # io.Copy splices, and each direction holds a pipe even while it waits
    ),
)

OPTIONAL = (
    Candidate(
        "naive",
        "asyncio's start_server on uvloop, nothing else",
        _naive,
        (sys.executable, "--version"),
    ),
)
"""Compared only when named."""

WORKERS = tuple(
    _tcplb_candidate(
        f"tcplb-{count}-worker" + ("s" if count > 1 else ""),
        f"engine auto, access log to a file, --workers {count}, on all cores",
        tcplb("auto", f"--workers={count}"),
    )
    for count in (1, 2)
)
"""Compared with each other, in a scenario of their own."""

ORDER = [candidate.name for candidate in (*CANDIDATES, *OPTIONAL, *WORKERS)]
"""How a report lists them, whatever the order they were measured in."""
