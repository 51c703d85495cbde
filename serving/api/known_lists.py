"""Plain lists that are known, answered before the framework: the same bytes without its work.

``GET /v1/users/{user_id}/recommendations`` with nothing but ``count`` is most of a service's traffic, and its
list is mostly looked up. Routing, validation and dependency injection cost several times the look-up, so such
a request is recognised by its shape here. Whatever is not exactly that shape, and whatever has to be
computed, goes on to the framework; key, rate limit, metrics and log lie outside and see no difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.recommendations import USER_LISTS, list_answer, router
from serving.api.schemas import MAX_ID, MAX_ITEMS, ListQuery
from serving.engine.service import Service

PREFIX, SUFFIX = USER_LISTS.split("{user_id:any}")
COUNT = re.compile(rb"count=([1-9][0-9]{0,2})")
DEFAULT_COUNT: int = ListQuery.model_fields["count"].default


class KnownLists:
    """``app`` with a short way for plain lists that need no computing.

    ``compress`` wraps an application as ``app`` is wrapped; bodies below ``compress_from`` bytes need not be.
    """

    def __init__(
        self, app: ASGIApp, service: Service, *, compress: Callable[[ASGIApp], ASGIApp], compress_from: int
    ) -> None:
        self._app = compress(app)
        self._compress = compress
        self._compress_from = compress_from
        self._service = service
        self._route = next(
            route for route in router.routes if isinstance(route, Route) and route.path == USER_LISTS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not await self._answered(scope, receive, send):
            await self._app(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        path: str = scope["path"]
        if scope["method"] != "GET" or not path.startswith(PREFIX) or not path.endswith(SUFFIX):
            return False
        user_id = path[len(PREFIX) : -len(SUFFIX)]
        count = _count(scope["query_string"])
        if count is None or not 0 < len(user_id) <= MAX_ID or "\0" in user_id or scope.get("root_path"):
            return False
        served = self._service.lists.look_up(user_id, count)
        if served is None:
            return False
        scope["route"] = self._route
        answer = list_answer(scope, served)
        if len(answer.body) < self._compress_from:
            await answer(scope, receive, send)
        else:
            await self._compress(answer)(scope, receive, send)
        return True


def _count(query: bytes) -> int | None:
    """The length that a query string asks for, None where it asks for anything else."""
    if not query:
        return DEFAULT_COUNT
    match = COUNT.fullmatch(query)
    count = int(match[1]) if match else None
    return count if count is not None and count <= MAX_ITEMS else None
