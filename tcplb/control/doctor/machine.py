"""What a check may know of the machine and of the process that tcplb would be."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from tcplb.control.limits import processors


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, whose /proc, /sys and /run are below `root`, and a user's process on it."""

    root: Path
    open_files: tuple[int, int]
    """The soft and the hard limit of open files; -1 for none."""
    user: int
    """The number of the user; 0 for root."""
    processors: int
    """How many this process may use."""
    page_size: int
    """Bytes."""

    @classmethod
    def this(cls) -> Machine:
        """Return the machine and the process that this is."""
        return cls(
            root=Path("/"),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
            user=os.geteuid(),
            processors=processors(),
            page_size=resource.getpagesize(),
        )

    def text(self, path: str) -> str | None:
        """Return what the file at `path`, below the root, has; None if it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`, below the root."""
        try:
            return (self.root / path).exists()
        except OSError:
            return False

    def sysctl(self, name: str) -> str | None:
        """Return the value of a setting of the kernel, such as net.core.somaxconn; None if none."""
        return self.text(f"proc/sys/{name.replace('.', '/')}")

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """Return the whole numbers that a setting of the kernel consists of; None if none."""
        try:
            return tuple(map(int, (self.sysctl(name) or "").split())) or None
        except ValueError:
            return None

    def number(self, name: str) -> int | None:
        """Return a setting of the kernel that is one whole number; None if it is not."""
        numbers = self.numbers(name)
        return numbers[0] if numbers is not None and len(numbers) == 1 else None


def set_to(name: str, value: object) -> str:
    """Return the command that gives a setting of the kernel that value, until the next boot."""
    return f"sysctl -w {name}={_quoted(str(value))}"


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
