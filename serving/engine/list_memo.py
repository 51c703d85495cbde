"""Lists that need no computing: what was answered before, and what `precompute` stored.

A list depends on the release, the rules, the person's ratings and the length, and on nothing else. A plain
list (no filter, no session, no explanation) of somebody whose ratings are still the same object is therefore
looked up. Each entry keeps its JSON, so that an answer is put together and not encoded again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic_core import to_json

from recsys.release.queries import Query, RecommendationList
from recsys.types import JsonObject
from serving.domain import Exposure
from serving.events.rows import RepeatedExposure

Encoded = TypeVar("Encoded", bytes, RepeatedExposure)
MAX_PARTS = 8  # encoded parts of a list, one an arm and revision
MAX_ENTRIES = 20_000  # about 3 KB each


@dataclass(frozen=True)
class CachedList:
    """``answer`` and its ``items`` as they stand in one, best first; ``ready`` is their JSON where it is
    stored."""

    answer: RecommendationList
    items: list[JsonObject]
    ready: bytes | None = None

    @cached_property
    def items_json(self) -> bytes:
        """``items`` as JSON."""
        return to_json(self.items) if self.ready is None else self.ready

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        return tuple([item["id"] for item in self.items])

    @cached_property
    def stars(self) -> tuple[float, ...]:
        return tuple([item.predicted_rating for item in self.answer.recommendations])

    def repeated(self, exposure: Exposure) -> RepeatedExposure:
        """The columns that exposures of this list share; ``exposure`` is one of them."""
        return self._encoded(
            ("exposure", exposure.experiment, exposure.arm, exposure.revision),
            lambda: RepeatedExposure.of(exposure),
        )

    def answer_json(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """The part of an answer that repeats under ``key``, made once."""
        return self._encoded(("answer", *key), make)

    def _encoded(self, key: tuple[object, ...], make: Callable[[], Encoded]) -> Encoded:
        parts: dict[tuple[object, ...], Any] = self._parts
        found: Encoded | None = parts.get(key)
        if found is None:
            if len(parts) >= MAX_PARTS:
                parts.clear()
            found = parts[key] = make()
        return found

    @cached_property
    def _parts(self) -> dict[tuple[object, ...], Any]:
        return {}


def is_plain(query: Query) -> bool:
    """Whether nothing but the person and the length makes the list."""
    return query.exclude is None and query.allowed is None and not (query.include_seen or query.explain)


class ListMemo:
    """The newest lists of one release. For one event loop; ``clear`` from any thread.

    People without ratings of their own here share the entries of their row (strangers those of no row).
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[int | str | None, int], tuple[object, CachedList]] = {}

    def get(self, person: int | str | None, count: int, ratings: object) -> CachedList | None:
        """The list made from exactly ``ratings``, compared by identity."""
        entry = self._entries.get((person, count))
        return entry[1] if entry is not None and entry[0] is ratings else None

    def newest(self, person: int | str | None, count: int) -> CachedList | None:
        """The last list of this person, whatever has been rated since."""
        entry = self._entries.get((person, count))
        return None if entry is None else entry[1]

    def put(self, person: int | str | None, count: int, ratings: object, cached: CachedList) -> None:
        key = (person, count)
        if key not in self._entries and len(self._entries) >= MAX_ENTRIES:
            self._entries.pop(next(iter(self._entries)), None)
        self._entries[key] = (ratings, cached)

    def without(self, rows: set[int] | None) -> ListMemo:
        """A memo of the lists that hold none of ``rows``; an empty one for None (any)."""
        kept = ListMemo()
        if rows is not None:
            kept._entries = {
                key: entry
                for key, entry in list(self._entries.items())
                if not rows or rows.isdisjoint(item.item for item in entry[1].answer.recommendations)
            }
        return kept

    def clear(self) -> None:
        self._entries.clear()
