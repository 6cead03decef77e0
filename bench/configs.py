"""The settings of the other balancers: one thread, round robin, and nothing that they do not need.

They are as their manuals would have them for this work; a log only where the candidate says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.wire import ANSWER, END_OF_HEAD

# splice-auto alone looks at a flow only when something else happens on the connection, so that it
# copies most downloads to their end (strace shows it). It would be too easy to compare with that.
_SPLICE = ("    option splice-auto", "    option splice-response")


def haproxy(
    port: int, backends: Sequence[int], connections: int, *, splice: bool, log: bool
) -> str:
    """Return an haproxy.cfg."""
    lines = [
        "global",
        "    nbthread 1",
        f"    maxconn {connections}",
        *(["    log stdout format raw local0"] if log else []),
        "defaults",
        "    mode tcp",
        "    timeout connect 5s",
        "    timeout client 1h",
        "    timeout server 1h",
        *(["    log global", "    option tcplog"] if log else []),
        *(_SPLICE if splice else []),
        "listen bench",
        f"    bind 127.0.0.1:{port}",
        "    balance roundrobin",
        *(f"    server b{backend} 127.0.0.1:{backend}" for backend in backends),
    ]
    return "\n".join(lines) + "\n"


def nginx(port: int, backends: Sequence[int], connections: int, directory: str) -> str:
    """Return an nginx.conf for the stream module, which keeps all its files in `directory`."""
    servers = "\n".join(f"        server 127.0.0.1:{backend};" for backend in backends)
    return f"""\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile {2 * connections + 100};
pid {directory}/nginx.pid;
error_log stderr error;
events {{
    worker_connections {2 * connections + 50};
}}
stream {{
    access_log off;
    tcp_nodelay on;
    upstream bench {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_pass bench;
    }}
}}
"""


def nginx_http(port: int, directory: str) -> str:
    """Return an nginx.conf for a web server that gives the small answer of `bench.wire`."""
    body = ANSWER.partition(END_OF_HEAD)[2].decode()
    return f"""\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            return 200 "{body}";
        }}
    }}
}}
"""
