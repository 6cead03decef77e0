from __future__ import annotations

import os

from hypothesis import settings

# Many balancers run at once here, and only one of them could have the usual admin port.
os.environ.setdefault("TCPLB_ADMIN_BIND", "none")

# How long an example takes depends on what else runs: no test asserts on time.
settings.register_profile("tcplb", deadline=None)
settings.load_profile("tcplb")
