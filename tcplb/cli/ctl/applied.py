"""What a change has made different, as text."""

from __future__ import annotations

from collections.abc import Iterator

from tcplb.control.admin.models import Applied
from tcplb.loadgen.reports.figures import printable


def applied_lines(applied: Applied, nothing: str) -> Iterator[str]:
    """Yield the differences and the notes; `nothing` is what to say if there is no difference."""
    if not applied.changes:
        yield nothing
    yield from (printable(change.text) for change in applied.changes)
    yield from (f"Note: {printable(note)}" for note in applied.notes)
