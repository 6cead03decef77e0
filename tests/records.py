"""A record of the access log, for tests of what becomes of one."""

from __future__ import annotations

from tcplb.dataplane.record import Active, Record
from tcplb.dataplane.termination import Termination

RECORD = Record(
    accepted_at=1795356187.125,
    began=100.0,
    client_host="127.0.0.1",
    client_port=51234,
    listener="web",
    pool="web",
    backend="b1",
    key=b"/x",
    classified=100.0025,
    connected=100.004,
    ended=100.0575,
    bytes_up=78,
    bytes_down=212,
    attempts=1,
    active=Active(process=4, listener=3, pool=2, backend=1),
    termination=Termination.NORMAL,
)
