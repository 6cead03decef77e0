from __future__ import annotations

import subprocess
import sys

from tests.processes import WAIT


def test_who_wants_no_admin_port_does_not_pay_for_it() -> None:
    """What it is made of takes as long to import as all the rest."""
    script = "import sys, tcplb.control.supervisor; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WAIT, check=True
    )
    assert done.stdout.strip() == "False"
