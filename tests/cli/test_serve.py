from __future__ import annotations

import json
import signal
import socket
import sys

import pytest

from tests.processes import WAIT, Running, echo_backends, port_of, tcplb


def test_it_can_be_run_by_variables_alone() -> None:
    with echo_backends() as backends:
        environment = {
            "TCPLB_LISTEN": "127.0.0.1:0",
            "TCPLB_BACKEND": f"only=127.0.0.1:{port_of(backends[0])}",
            "TCPLB_LOG_FORMAT": "json",
            "TCPLB_DRAIN_TIMEOUT": "0s",
        }
        with tcplb("serve", environment=environment) as lb:
            port = int(lb.wait_for(r"listening on [0-9.]+:(\d+)")[0][1])
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
                client.sendall(b"\x01hello")
                assert client.recv(100) == b"\x01hello"
                lb.signal(signal.SIGTERM)
                assert lb.wait() == 5  # cut off at once: there is no time to drain
            record = json.loads(lb.wait_for(r'"termination"')[0].string)
    assert (record["backend"], record["termination"]) == ("only", "KD")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_no_reason_to_fail(closed: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"--listen 127.0.0.1:{taken.getsockname()[1]} --access-log none"
        with Running(["bash", "-c", f"{sys.executable} -m tcplb serve {listen} {closed}"]) as lb:
            assert lb.wait() == 4  # it came as far as the taken port
            assert "Traceback" not in lb.output


def test_an_access_log_on_a_closed_stdout_is_refused_in_words() -> None:
    serve = f"{sys.executable} -m tcplb serve --listen 127.0.0.1:0"
    with Running(["bash", "-c", f"{serve} >&-"]) as lb:
        assert lb.wait() == 1
    assert lb.output == "tcplb: cannot open the access log (stdout): Bad file descriptor"
