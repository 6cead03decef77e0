from __future__ import annotations

from hypothesis import settings

# How long an example takes depends on what else runs: no test asserts on time.
settings.register_profile("tcplb", deadline=None)
settings.load_profile("tcplb")
