"""How much of its weight a backend has that has just come back.

Source: HAProxy's ``slowstart``, nginx's ``slow_start``, and Envoy's ``slow_start_config``, whose
least weight of 10 % this has as well.
"""

from __future__ import annotations

FLOOR = 0.1


def share_after(seconds: float, window: float) -> float:
    """Return the part of its weight, `FLOOR` to 1, so many seconds after it came back.

    It grows linearly over `window` seconds, and is 1 from then on.
    """
    if seconds >= window:
        return 1.0
    return max(FLOOR, seconds / window)
