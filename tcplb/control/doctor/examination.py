"""All checks, in the order in which they are told."""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime
from pathlib import Path

from tcplb.config.models import Config
from tcplb.control.doctor.backends import check_backends
from tcplb.control.doctor.clock import ask_timedatectl, check_clock
from tcplb.control.doctor.descriptors import check_descriptors
from tcplb.control.doctor.files import check_access_log, check_config_file
from tcplb.control.doctor.finding import Finding
from tcplb.control.doctor.listeners import check_listener
from tcplb.control.doctor.machine import Machine
from tcplb.control.doctor.ports import check_ports
from tcplb.control.doctor.queues import check_queues
from tcplb.control.doctor.software import (
    check_engine,
    check_pipes,
    check_processors,
    check_python,
    check_uvloop,
    installed,
    try_splice,
)
from tcplb.control.process import new_event_loop


def examine(config: Config, machine: Machine, file: Path | None) -> list[Finding]:
    """Check all there is to check for `config`, which is from `file`, on `machine`.

    Connects to the backends and binds the listeners' addresses, and changes nothing.
    """
    workers = machine.processors if config.workers == "auto" else int(config.workers)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        backends = runner.run(check_backends(config))
    return [
        check_python(platform.python_version()),
        check_uvloop(installed("uvloop")),
        check_engine(config, error=try_splice()),
        *check_processors(machine, workers),
        *check_descriptors(config, machine, workers),
        check_pipes(machine, workers),
        *check_queues(config, machine),
        *check_ports(config, machine),
        check_clock(machine, datetime.now(UTC), ask_timedatectl()),
        check_config_file(file),
        check_access_log(config.log.access),
        *map(check_listener, config.listeners),
        *backends,
    ]
