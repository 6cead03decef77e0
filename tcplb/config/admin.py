"""The settings of the admin port: where it listens, who may change things, under which names."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)

from tcplb.config.address_fields import to_bind_address
from tcplb.config.table import Table
from tcplb.config.units import parse_address
from tcplb.config.wording import quote, show

DEFAULT_ADMIN_BIND = "127.0.0.1:9091"
NO_ADMIN = "none"
UNIX = "unix:"
AUTO = "auto"
SHORTEST_TOKEN = 16
LONGEST_TOKEN = 1000
MASKED = "********"

# What a socket's address has room for, sun_path in unix(7), less the NUL at its end.
_LONGEST_PATH = 107
_TOKEN = re.compile(r"[!-~]+")
_HOST = re.compile(r"([A-Za-z0-9_]([A-Za-z0-9_.-]*)|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_LONGEST_HOST = 260


def to_admin_bind(value: object) -> str:
    """A bind of the admin port in its normal form; raises ValueError with a text for the user."""
    if value == NO_ADMIN:
        return NO_ADMIN
    if isinstance(value, str) and value.startswith(UNIX):
        return _check_unix(value)
    return to_bind_address(value)


def is_local(bind: str) -> bool:
    """Whether only processes of this machine reach a bind that `to_admin_bind` has given."""
    if bind == NO_ADMIN or bind.startswith(UNIX):
        return True
    host, _ = parse_address(bind, bind=True)
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_unix(bind: str) -> str:
    path = bind.removeprefix(UNIX)
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError(f"must have an absolute path after {UNIX} (got {quote(bind)})")
    if len(path.encode(errors="replace")) > _LONGEST_PATH:
        raise ValueError(
            f"must have a path of at most {_LONGEST_PATH} bytes, which is all that the address of "
            f"a Unix socket has room for (got {quote(bind)})"
        )
    return bind


def _to_token(value: object) -> SecretStr:
    # None of the messages may have the token in it, so it is not for pydantic to word them.
    token = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(token, str):
        raise ValueError("must be a string in quotes")  # noqa: TRY004 - pydantic wants ValueError
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise ValueError(
            f"must have {SHORTEST_TOKEN} to {LONGEST_TOKEN} characters, such as "
            f"`openssl rand -hex 32` gives (got {len(token)})"
        )
    if not _TOKEN.fullmatch(token):
        raise ValueError("must be made of printable ASCII characters without spaces")
    return SecretStr(token)


def _check_path(path: str) -> str:
    if not path or not path.isprintable():
        raise ValueError(f"must be the path of a file (got {quote(path)})")
    return path


def _to_host(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_HOST or not _HOST.fullmatch(value):
        raise ValueError(
            f'must be a host name, or one with a port, as in "lb.example:443" (got {show(value)})'
        )
    return value.lower()


AdminBind = Annotated[
    str,
    PlainValidator(to_admin_bind),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(none|unix:/.+|[^/]*:[0-9]{1,5})$",
            "examples": [DEFAULT_ADMIN_BIND, "unix:/run/tcplb/admin.sock", NO_ADMIN],
        }
    ),
]
Token = Annotated[
    SecretStr,
    PlainValidator(_to_token),
    PlainSerializer(lambda _: MASKED, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "format": "password",
            "minLength": SHORTEST_TOKEN,
            "maxLength": LONGEST_TOKEN,
            "pattern": "^[!-~]*$",
        }
    ),
]
FilePath = Annotated[str, AfterValidator(_check_path)]
HostName = Annotated[
    str,
    PlainValidator(_to_host),
    WithJsonSchema({"type": "string", "examples": ["lb.example", "lb.example:443"]}),
]


class AdminConfig(Table):
    """The admin port: JSON API, metrics, health, and the dashboard."""

    bind: AdminBind = Field(
        default=DEFAULT_ADMIN_BIND,
        description='HOST:PORT to listen on, "unix:/PATH" or "none". Any but a loopback address '
        "needs TLS, and a token of yours.",
    )
    token: Token | None = Field(
        default=None,
        description="What a client must know to change anything; without it, the token is in "
        "`token_file`. Better than here it is in TCPLB_ADMIN_TOKEN.",
    )
    token_file: FilePath = Field(
        default=AUTO,
        description='The file with the token, made if it is not there. "auto": in the directory '
        "that the system has for such files of this user.",
    )
    tls_certificate: FilePath | None = Field(
        default=None, description="A PEM file with the certificate and its chain, for HTTPS."
    )
    tls_key: FilePath | None = Field(default=None, description="The PEM file with its key.")
    hosts: tuple[HostName, ...] = Field(
        default=(),
        description="Names by which browsers may ask for it, besides the address that it listens "
        'on and localhost: "lb.example".',
    )
