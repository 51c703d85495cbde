"""JSON responses of lists: dicts written by pydantic's serializer, without a model in between."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from recsys.types import JsonObject
from serving.engine.list_memo import CachedList
from serving.engine.requests import Recommended


class JsonResponse(Response):
    """A response rendered by pydantic's serializer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def list_json(served: Recommended, *, explain: bool, unknown: list[str] | None = None) -> Response:
    """The response of a list; that of a memoised list is joined from encoded parts."""
    if served.cached is None or unknown:
        return JsonResponse(list_response(served, explain=explain, unknown=unknown))
    return Response(cached_list_body(served, served.cached), media_type="application/json")


def cached_list_body(served: Recommended, cached: CachedList) -> bytes:
    """The bytes of ``list_response``, joined from encoded parts."""
    exposure = served.exposure
    repeated = cached.answer_json(
        (served.experiment, exposure.arm, exposure.revision, served.assignment.reason),
        lambda: b",%s" % to_json(_repeated_head(served))[1:-1],
    )
    return b'{"exposure_id":"%s","user_id":%s%s,"items":%s}' % (
        exposure.exposure_id.encode(),
        to_json(exposure.user_id),
        repeated,
        cached.items_json,
    )


def list_response(served: Recommended, *, explain: bool, unknown: list[str] | None = None) -> JsonObject:
    """The body of a list's answer (``ListResponse``)."""
    exposure = served.exposure
    return {
        "exposure_id": exposure.exposure_id,
        "user_id": exposure.user_id,
        **_repeated_head(served),
        "items": served.listed(explain=explain),
        **({"unknown_items": unknown} if unknown else {}),
    }


def _repeated_head(served: Recommended) -> JsonObject:
    """The fields that all answers of one list in one revision and arm share."""
    exposure = served.exposure
    return {
        "experiment": served.experiment,
        "arm": exposure.arm,
        "assignment": served.assignment.reason,
        "revision": exposure.revision,
        "model_version": exposure.release_id,
        "source": exposure.source,
        "fallback": served.answer.fallback or None,
    }


def server_timing(milliseconds: dict[str, float]) -> str:
    """The Server-Timing header: ``retrieve;dur=0.41, ...``."""
    return ", ".join([f"{name};dur={value:.2f}" for name, value in milliseconds.items()])
