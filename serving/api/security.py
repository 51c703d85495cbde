"""Who may speak to an open service: the names that its Host header may carry, and origins of other pages.

A page on another site can make its own name resolve to 127.0.0.1 (DNS rebinding) and then read an open
service as if it were its own. Its requests still carry that name, so a service without a key answers only to
IP addresses, ``localhost`` and names that its settings list.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CORS_HEADERS = ("authorization", "content-type", "x-api-key", "x-request-id")
CORS_EXPOSED = ("x-request-id", "server-timing", "retry-after")


def host_name(header: bytes) -> str:
    """The name in a Host header, without its port and brackets."""
    text = header.decode("latin-1").strip().casefold()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


def is_allowed_host(header: bytes, allowed: Sequence[str]) -> bool:
    """Whether an open service answers to this Host header. HTTP/1.0 requests have none."""
    name = host_name(header).rstrip(".")
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {host.casefold() for host in allowed}
    return True


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """``app`` open to pages of ``origins``; as it is where there are none."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=CORS_METHODS,
        allow_headers=CORS_HEADERS,
        expose_headers=CORS_EXPOSED,
        max_age=600,
    )
