"""Lists as JSON. Built as dicts and written by pydantic's serializer, without a model in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from recsys.release.queries import Recommendation
from recsys.types import JsonObject
from serving.engine.requests import Recommended
from serving.engine.served_release import ServedRelease


class JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def listed_item(
    loaded: ServedRelease, found: Iterable[Recommendation], *, explain: bool = False
) -> list[JsonObject]:
    items = []
    for one in found:
        item = {
            **loaded.card(one.item),
            "score": round(one.score, 6),
            "predicted_rating": round(one.predicted_rating, 4),
        }
        if explain:
            item["because"] = [
                {"id": card["id"], "title": card["title"]} for card in map(loaded.card, one.because)
            ]
        items.append(item)
    return items


def list_response(served: Recommended, *, explain: bool, unknown: list[str] | None = None) -> JsonObject:
    exposure = served.exposure
    answer = {
        "exposure_id": exposure.exposure_id,
        "user_id": exposure.user_id,
        "experiment": served.experiment,
        "arm": exposure.arm,
        "assignment": served.assignment.reason,
        "revision": exposure.revision,
        "model_version": exposure.release_id,
        "source": exposure.source,
        "fallback": served.answer.fallback or None,
        "items": listed_item(served.loaded, served.answer.recommendations, explain=explain),
    }
    if unknown:
        answer["unknown_items"] = unknown
    return answer


def server_timing(milliseconds: dict[str, float]) -> str:
    """The header's value: ``retrieve;dur=0.41, ...``."""
    return ", ".join([f"{name};dur={value:.2f}" for name, value in milliseconds.items()])
