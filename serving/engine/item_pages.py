"""Pagination of the catalogue: filtered, in the order of ids, or by title with the most rated first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.engine.served_release import ServedRelease

MAX_HITS = 2_000  # titles of the release in a search's results


@dataclass(frozen=True)
class PageRequest:
    """A request for a page.

    Attributes:
        count: Items of the page.
        title: Text in the title.
        where: Filter expression.
        cursor: ``next`` of the previous page.
        unavailable: Whether items outside their window are included.
        explores: Passed to ``ServedRelease.details``.
    """

    count: int
    title: str | None = None
    where: str | None = None
    cursor: str | None = None
    unavailable: bool = False
    explores: bool = False


def item_page(loaded: ServedRelease, request: PageRequest) -> JsonObject:
    """``items``, the cursor of the ``next`` page and the ``total`` of all pages.

    Raises:
        FilterSyntaxError: the filter does not parse.
        InputError: The cursor is not an item.
    """
    view = loaded.view
    mask = np.ones(len(view), dtype=np.bool_) if request.where is None else view.where(request.where).copy()
    mask[sorted(view.concealed)] = False
    if not request.unavailable:
        mask[view.unlisted] = False
    if request.cursor is not None and view.row(request.cursor) is None:
        raise InputError(f"cursor: there is no item {request.cursor!r}; give the `next` of the page before")
    if request.title is None:
        ids, order = view.sorted_ids
        start = 0 if request.cursor is None else int(np.searchsorted(ids, request.cursor, side="right"))
        following = order[start:]
        rows = following[mask[following]][: request.count + 1].tolist()
    else:
        hits = [row for row in _titled(loaded, request.title) if mask[row]]
        mask = np.zeros_like(mask)
        mask[hits] = True
        if request.cursor is not None:
            last = _by_ratings(loaded, view.row(request.cursor) or 0)
            hits = [row for row in hits if _by_ratings(loaded, row) > last]
        rows = hits[: request.count + 1]
    shown = rows[: request.count]
    more = len(rows) > request.count
    return {
        "items": [loaded.details(row, explores=request.explores) for row in shown],
        "next": view.card(shown[-1])["id"] if more else None,
        "total": int(mask.sum()),
    }


def _titled(loaded: ServedRelease, text: str) -> list[int]:
    """Rows of the items whose title holds ``text``, the most rated first, added items last."""
    text = text.casefold()
    lines, ends = loaded.title_lines
    hits: set[int] = set()
    start = lines.find(text)
    while start >= 0 and len(hits) < MAX_HITS:
        row = int(np.searchsorted(ends, start, side="right"))
        hits.add(row)
        start = lines.find(text, int(ends[row]))
    hits = {row for row in hits if not loaded.view.is_retitled(row)} | set(loaded.view.titled(text))
    return sorted(hits, key=lambda row: _by_ratings(loaded, row))


def _by_ratings(loaded: ServedRelease, row: int) -> tuple[float, int]:
    """Sorts items, the most rated first."""
    counts = loaded.release.popularity.counts
    return (-float(counts[row]) if row < len(counts) else 0.0, row)
