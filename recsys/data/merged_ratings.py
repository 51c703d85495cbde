"""Served ratings merged with the data that an earlier run was trained on.

Per user and item the newest rating stays (a served one wins a tie); everything left out is counted by reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.event_ratings import ServedPairs, ServedRatings
from recsys.data.exposure_weights import exposure_weights, weights_lineage
from recsys.data.fingerprint import columns_sha256
from recsys.data.merged_items import merge_items, padded, unrated_additions
from recsys.data.ratings import Ratings
from recsys.errors import InputError
from recsys.types import JsonObject

LEAST_ITEMS = 20  # of the events: fewer may all be new
ORIGINS = ("base", "served", "served after our list")


def merge_served(base: Dataset, served: ServedRatings, *, weigh: bool = False) -> Dataset:
    """``base`` with the served ratings in it: ``merge_with_origin`` without the origins."""
    return merge_with_origin(base, served, weigh=weigh)[0]


def merge_with_origin(
    base: Dataset, served: ServedRatings, *, weigh: bool = False
) -> tuple[Dataset, NDArray[np.int8]]:
    """``base`` with the served ratings in it, and where each rating came from.

    Rows keep their base row numbers; new people and items come after them, then items that nobody has rated.
    Base ratings of people who were erased are left out. Titles, genres and features that were set of items
    count (see ``merged_items``). ``positives`` of the result are events of other kinds, of pairs without a
    rating: the largest weight of a pair, as stars.

    Args:
        base: the data that the earlier run was trained on.
        served: what ``read_served`` gave, on the same rating scale.
        weigh: ratings of what our lists had shown count by their inverse propensity
            (``recsys.data.exposure_weights``).

    Returns:
        The merged data set; its ``lineage`` holds ``base`` (sha256), ``watermark``, ``item_watermark``,
        ``served``, ``positives``, ``from_our_lists`` (the share of served ratings whose item one of our lists
        had shown), ``new_users``, ``new_items``, ``left_out`` and ``unused`` by reason, and with ``weigh``
        ``exposure_weights``. And (n,) an index
        into ``ORIGINS`` for each rating.

    Raises:
        InputError: no item of the events is one of ``base``: they are of another catalogue.
    """
    ratings, given, positives = base.ratings, served.ratings, served.positives
    changed = served.catalogue.items
    _require_same_ids(base, served)
    user_ids, served_users = _extend(base.user_ids, given.user_names)
    item_ids, served_items = _extend(base.catalogue.ids, given.item_names)
    user_ids, positive_users = _extend(user_ids, positives.user_names)
    item_ids, positive_items = _extend(item_ids, positives.item_names)
    item_ids, _ = _extend(item_ids, unrated_additions(item_ids, changed))
    old_times = np.zeros(len(ratings), np.int64) if ratings.times is None else ratings.times
    users = np.concatenate([ratings.users, served_users[given.users]])
    items = np.concatenate([ratings.items, served_items[given.items]])
    values = np.concatenate([ratings.values, given.values])
    times = np.concatenate([old_times, given.times])
    is_served = np.concatenate([np.zeros(len(ratings), np.bool_), np.ones(len(given), np.bool_)])
    exposed = np.concatenate([np.zeros(len(ratings), np.bool_), given.exposed])

    left_out = dict(served.left_out)
    gone = np.zeros(len(users), np.bool_)
    if served.erased:
        until = np.array([served.erased_at(str(name)) for name in base.user_ids])
        before = until[ratings.users] >= old_times
        gone[: len(ratings)] = before
        if before.any():
            left_out["base ratings of erased people"] = int(before.sum())
    # The newest of a pair is the last in (pair, time, origin) order; a stable sort keeps the rows' own order.
    pairs = users.astype(np.int64) * len(item_ids) + items
    order = np.lexsort((is_served, times, pairs))
    last = np.ones(len(order), np.bool_)
    last[:-1] = pairs[order[1:]] != pairs[order[:-1]]
    keep = np.zeros(len(order), np.bool_)
    keep[order[last]] = True
    left_out["rated again later"] = int((~keep & ~gone).sum())
    rows = np.flatnonzero(keep & ~gone)
    merged = Ratings(
        users=users[rows].astype(np.int32),
        items=items[rows].astype(np.int32),
        values=values[rows],
        times=times[rows],
        scale=ratings.scale,
        user_count=len(user_ids),
        item_count=len(item_ids),
    )
    propensities = np.concatenate([np.full(len(ratings), np.nan, np.float32), given.propensities])[rows]
    if weigh:
        merged = replace(merged, weights=exposure_weights(propensities))
    liked = _positives(positives, positive_users, positive_items, merged)
    catalogue = merge_items(base, item_ids, changed)
    taken, unused = is_served[rows], dict(served.unused)
    if catalogue.misfits:
        unused["features of another kind"] = catalogue.misfits
    lineage: JsonObject = {
        "base": base.sha256,
        "watermark": served.watermark,
        "item_watermark": served.catalogue.watermark,
        "served": int(taken.sum()),
        "positives": len(liked),
        "from_our_lists": float(exposed[rows][taken].mean()) if taken.any() else None,
        "new_users": len(user_ids) - len(base.user_ids),
        "new_items": len(item_ids) - len(base.catalogue),
        "left_out": {reason: count for reason, count in left_out.items() if count},
        "unused": unused,
    }
    sha256 = columns_sha256(merged, user_ids, item_ids)
    if len(liked):
        sha256 = hashlib.sha256(f"{sha256} {columns_sha256(liked, user_ids, item_ids)}".encode()).hexdigest()
    if merged.weights is not None:
        lineage["exposure_weights"] = weights_lineage(merged.weights, propensities)
        sha256 = hashlib.sha256(sha256.encode() + merged.weights.tobytes()).hexdigest()
    dataset = replace(
        base,
        ratings=merged,
        user_ids=user_ids,
        catalogue=catalogue.catalogue,
        sha256=sha256,
        quality=replace(
            base.quality,
            rows=len(ratings) + len(served) + sum(served.left_out.values()),
            notes=(*base.quality.notes, *_notes(lineage)),
        ),
        user_features=padded(base.user_features, len(user_ids) - len(base.user_ids)),
        item_features=catalogue.features,
        item_encoder=catalogue.encoder,
        positives=liked if len(liked) else None,
        source=f"{base.source}, and {int(taken.sum()):,} ratings given through the service",
        noise_floor=None,
        lineage=lineage,
    )
    return dataset, (is_served.astype(np.int8) + exposed)[rows]


def _positives(
    positives: ServedPairs, users: NDArray[np.int32], items: NDArray[np.int32], rated: Ratings
) -> Ratings:
    """The largest weight of each pair that nobody rated, as stars: 1 is the highest rating, 0 the lowest."""
    pairs = users[positives.users].astype(np.int64) * rated.item_count + items[positives.items]
    rated_keys = rated.users.astype(np.int64) * rated.item_count + rated.items
    rows = np.flatnonzero(~np.isin(pairs, rated_keys))
    rows = rows[np.lexsort((positives.times[rows], positives.values[rows], pairs[rows]))]
    last = np.ones(len(rows), np.bool_)
    last[:-1] = pairs[rows[1:]] != pairs[rows[:-1]]
    rows = rows[last]
    return replace(
        rated,
        weights=None,
        users=(pairs[rows] // rated.item_count).astype(np.int32),
        items=(pairs[rows] % rated.item_count).astype(np.int32),
        values=(rated.scale.low + positives.values[rows] * rated.scale.span).astype(np.float32),
        times=positives.times[rows],
    )


def _require_same_ids(base: Dataset, served: ServedRatings) -> None:
    """InputError where the events name many items and none of them is known to ``base`` or was added."""
    rated_keys = {*base.catalogue.ids.tolist(), *served.catalogue.items}
    named = {*served.ratings.item_names, *served.positives.item_names}
    if len(named) >= LEAST_ITEMS and not named & rated_keys:
        some = ", ".join(map(repr, sorted(named)[:3]))
        raise InputError(
            f"none of the {len(named):,} items of the events ({some}, ...) is an item of the run's data "
            f"({', '.join(map(repr, base.catalogue.ids[:3].tolist()))}, ...): they are of another catalogue; "
            "give the run whose release was served"
        )


def _notes(lineage: JsonObject) -> list[str]:
    """What a report says of served ratings: how many, how many by our own lists, what stayed out."""
    notes = [f"{lineage['served']:,} ratings were given through the service"]
    if lineage["from_our_lists"] is not None:
        notes[0] += f", {lineage['from_our_lists']:.0%} of them for items that our own lists had shown"
    if "exposure_weights" in lineage:
        weighed = lineage["exposure_weights"]
        notes.append(
            f"{weighed['weighed']:,} of them count by their inverse propensity, "
            f"as {weighed['effective']:,.0f} of one weight would"
        )
    if lineage["positives"]:
        notes.append(
            f"{lineage['positives']:,} pairs without a rating count for lists by clicks and the like"
        )
    return notes + [f"{count:,} left out: {reason}" for reason, count in lineage["left_out"].items()]


def _extend(ids: NDArray[np.str_], more: Sequence[str]) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """``ids`` with those of ``more`` that they lack, and (n,) the row of each of ``more``."""
    row_of = {name: row for row, name in enumerate(ids.tolist())}
    rows = np.array([row_of.setdefault(name, len(row_of)) for name in more], dtype=np.int32)
    extended = np.array(list(row_of), dtype=np.str_) if len(row_of) > len(ids) else ids
    return extended, rows
