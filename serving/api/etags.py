"""Conditional requests: ETags, and 304 for an answer that the client has cached."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response


def conditional(request: Request, response: Response) -> Response:
    """``response`` with a weak ETag of its body, or 304 where ``If-None-Match`` has that tag."""
    tag = f'W/"{hashlib.blake2b(bytes(response.body), digest_size=12).hexdigest()}"'
    response.headers["etag"] = tag
    response.headers.setdefault("cache-control", "no-cache")
    cached = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if tag.removeprefix("W/") not in cached and "*" not in cached:
        return response
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-l")}
    return Response(status_code=304, headers=headers)


class StaticPage:
    """A file served from memory."""

    def __init__(self, path: Path, media_type: str, headers: Mapping[str, str]) -> None:
        self._body = path.read_bytes()
        self._media_type = media_type
        self._headers = dict(headers)

    async def response(self, request: Request) -> Response:
        """The file, or 304."""
        return conditional(request, Response(self._body, media_type=self._media_type, headers=self._headers))
