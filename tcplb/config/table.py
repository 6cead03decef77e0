"""What all tables of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """A table of the settings: nothing in it changes, and a key that it does not know is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")
