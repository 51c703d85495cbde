"""What routes share: the service behind an application, the admin token, calls to the event store."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from serving.api.http_errors import HttpError
from serving.api.middleware import request_key
from serving.engine.service import STORE_ERRORS, Service

ADMIN_TOKEN = "RECSYS_ADMIN_TOKEN"
P = ParamSpec("P")
T = TypeVar("T")


def service_of(request: Request) -> Service:
    """The service that answers ``request``."""
    service: Service = request.app.state.service
    return service


def require_admin(request: Request, _: Any = Security(HTTPBearer(auto_error=False))) -> None:
    """Refuse a request without the admin token (403)."""
    token = os.environ.get(ADMIN_TOKEN, "")
    if not token:
        raise HttpError(
            403, f"this service was started without {ADMIN_TOKEN}: nothing can be changed over HTTP"
        )
    if not hmac.compare_digest(request_key(dict(request.scope["headers"])), token.encode()):
        raise HttpError(403, "give the admin token as `Authorization: Bearer ...`")


ADMIN = [Depends(require_admin)]


async def call_store(
    access: Literal["read", "written"], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """``function`` in a thread; 503 where the event store cannot be ``access``."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except STORE_ERRORS:
        raise HttpError(503, f"the event store cannot be {access} at the moment") from None
