"""A place for a worker, which may be taken by one process after the other."""

from __future__ import annotations

import asyncio
from socket import socket
from typing import Literal

from tcplb.control.backoff import Backoff
from tcplb.control.messages import Message
from tcplb.control.plan import Plan
from tcplb.control.worker_process import WorkerProcess

SlotState = Literal["starting", "ready", "draining", "waiting to be restarted"]


class Slot:
    """A place for a worker: its row on the scoreboard, and who is there, if anybody."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"worker {number + 1}"
        self.process: WorkerProcess | None = None
        self.wanted = True
        """Whether a worker that dies here is replaced, and may have sockets."""
        self.backoff = Backoff()
        self.restart: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the worker, if there is one."""
        return None if self.process is None else self.process.pid

    @property
    def state(self) -> SlotState:
        """How the worker is, in words."""
        if self.process is None:
            return "waiting to be restarted"
        if self.process.draining:
            return "draining"
        return "ready" if self.ready else "starting"

    @property
    def ready(self) -> bool:
        return self.process is not None and self.process.ready

    def reload(self, plan: Plan) -> None:
        """Have the worker go by another plan, if there is one that can."""
        if self.process is not None:
            self.process.reload(plan)

    def has_tried(self, generation: int) -> bool:
        """Whether the worker, if there is one, has heard of the plan and done what it can."""
        return self.process is None or self.process.applied >= generation

    def trouble_with(self, generation: int) -> str:
        """Return in words why the worker does not go by the plan; empty if it does."""
        if self.process is None:
            return ""
        if not self.has_tried(generation):
            return f"{self.name} does not go by it yet"
        failure = self.process.reload_failure
        return f"{self.name} goes on by the settings of before: {failure}" if failure else ""

    def send(self, message: Message, sock: socket | None = None) -> None:
        """Tell the worker something, if there is one."""
        if self.process is not None:
            self.process.send(message, sock)
