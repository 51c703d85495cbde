"""Served ratings merged with the data that an earlier run was trained on.

Per user and item the newest rating stays (a served one wins a tie); everything left out is counted by reason.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Catalogue, Dataset
from recsys.data.event_ratings import ServedRatings
from recsys.data.fingerprint import columns_sha256
from recsys.data.ratings import Ratings
from recsys.types import JsonObject

ORIGINS = ("base", "served", "served after our list")


def merge_served(base: Dataset, served: ServedRatings) -> Dataset:
    """``base`` with the served ratings in it: ``merge_with_origin`` without the origins."""
    return merge_with_origin(base, served)[0]


def merge_with_origin(base: Dataset, served: ServedRatings) -> tuple[Dataset, NDArray[np.int8]]:
    """``base`` with the served ratings in it, and where each rating came from.

    Rows keep their base row numbers; new people and items come after them. Base ratings of people who were
    erased are left out. Side information of new rows is 0, their titles are empty.

    Args:
        base: the data that the earlier run was trained on.
        served: what ``read_served`` gave, on the same rating scale.

    Returns:
        The merged data set; its ``lineage`` holds ``base`` (sha256), ``watermark``, ``served``,
        ``from_our_lists`` (the share of served ratings whose item one of our lists had shown), ``new_users``,
        ``new_items``, ``left_out`` by reason. And (n,) an index into ``ORIGINS`` for each rating.
    """
    ratings = base.ratings
    user_ids, served_users = _extend(base.user_ids, served.user_ids)
    item_ids, served_items = _extend(base.catalogue.ids, served.item_ids)
    old_times = np.zeros(len(ratings), np.int64) if ratings.times is None else ratings.times
    users = np.concatenate([ratings.users, served_users])
    items = np.concatenate([ratings.items, served_items])
    values = np.concatenate([ratings.values, served.values])
    times = np.concatenate([old_times, served.times])
    is_served = np.concatenate([np.zeros(len(ratings), np.bool_), np.ones(len(served), np.bool_)])
    exposed = np.concatenate([np.zeros(len(ratings), np.bool_), served.exposed])

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
    new_items, new_users = len(item_ids) - len(base.catalogue), len(user_ids) - len(base.user_ids)
    taken = is_served[rows]
    lineage: JsonObject = {
        "base": base.sha256,
        "watermark": served.watermark,
        "served": int(taken.sum()),
        "from_our_lists": float(exposed[rows][taken].mean()) if taken.any() else None,
        "new_users": new_users,
        "new_items": new_items,
        "left_out": {reason: count for reason, count in left_out.items() if count},
    }
    dataset = replace(
        base,
        ratings=merged,
        user_ids=user_ids,
        catalogue=Catalogue(
            ids=item_ids,
            titles=[*base.catalogue.titles, *[""] * new_items],
            genres=[*base.catalogue.genres, *[()] * new_items],
        ),
        sha256=columns_sha256(merged, user_ids, item_ids),
        quality=replace(
            base.quality,
            rows=len(ratings) + len(served) + sum(served.left_out.values()),
            notes=(*base.quality.notes, *_notes(lineage)),
        ),
        user_features=_padded(base.user_features, new_users),
        item_features=_padded(base.item_features, new_items),
        user_groups=None if base.user_groups is None else base.user_groups.with_new_users(new_users),
        source=f"{base.source}, and {int(taken.sum()):,} ratings given through the service",
        noise_floor=None,
        lineage=lineage,
    )
    return dataset, (is_served.astype(np.int8) + exposed)[rows]


def _notes(lineage: JsonObject) -> list[str]:
    """What a report says of served ratings: how many, how many by our own lists, what stayed out."""
    notes = [f"{lineage['served']:,} ratings were given through the service"]
    if lineage["from_our_lists"] is not None:
        notes[0] += f", {lineage['from_our_lists']:.0%} of them for items that our own lists had shown"
    return notes + [f"{count:,} left out: {reason}" for reason, count in lineage["left_out"].items()]


def _extend(ids: NDArray[np.str_], more: NDArray[np.str_]) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """``ids`` with those of ``more`` that they lack, and (n,) the row of each of ``more``."""
    row_of = {str(name): row for row, name in enumerate(ids.tolist())}
    rows = np.empty(len(more), np.int32)
    for position, name in enumerate(more.tolist()):
        rows[position] = row_of.setdefault(name, len(row_of))
    extended = np.array(list(row_of), dtype=np.str_) if len(row_of) > len(ids) else ids
    return extended, rows


def _padded(features: NDArray[np.float32] | None, rows: int) -> NDArray[np.float32] | None:
    if features is None or not rows:
        return features
    return np.concatenate([features, np.zeros((rows, features.shape[1]), np.float32)])
