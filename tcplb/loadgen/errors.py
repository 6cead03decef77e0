"""What can go wrong before there is a load. Whatever happens during it is counted, not raised.

::

    LoadError
    ├── TargetError     the target cannot be understood, found, or may not be loaded
    └── ProcessError    a process of the load did not start, or died
"""

from __future__ import annotations


class LoadError(Exception):
    """Base of all errors of the load generator; the message is meant for the user."""


class TargetError(LoadError):
    """The target cannot be understood or found, or is not to be loaded without being asked to."""


class ProcessError(LoadError):
    """A process of the load did not start, or died."""
