"""Host header and CORS checks.

With DNS rebinding a foreign page resolves its own host name to 127.0.0.1 and reads a local service as its own
origin. Its requests still carry that name, so a service without a key accepts only IP addresses,
``localhost`` and the host names of its settings.
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
    """The host name of a Host header, without port and brackets."""
    text = header.decode("latin-1").strip().casefold()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


def is_allowed_host(header: bytes, allowed: Sequence[str]) -> bool:
    """Whether a service without a key accepts this Host header; HTTP/1.0 requests have none."""
    name = host_name(header).rstrip(".")
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {host.casefold() for host in allowed}
    return True


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """``app`` with CORS for pages of ``origins``, unchanged without any."""
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
