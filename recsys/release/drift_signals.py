"""The signals of drift: which counts of rating events are held against a release's profile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.types import BoolArray, FloatArray, IntArray

MAGNITUDES = 25
RATING_BINS = 10
SCORE_BINS = 20
LEFT_OUT_MOST = 15


@dataclass(frozen=True)
class Events:
    """Rating events. ``users``, ``items`` (n,) rows of the release, -1 if it knows none; ``values``,
    ``predicted`` (n,) stars, NaN where not known. ``inside`` (n,): 1 where the rating lies in its prediction
    interval, 0 where it does not, NaN without one; None for no intervals at all."""

    users: IntArray
    items: IntArray
    values: FloatArray
    predicted: FloatArray
    inside: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.users)


def magnitude_bins(counts: IntArray) -> NDArray[np.int8]:
    """0 for none, then one bin each doubling: the bin of (n,) counts."""
    exact = np.ceil(np.log2(np.asarray(counts, dtype=np.float64) + 1))
    return np.minimum(exact, MAGNITUDES - 1).astype(np.int8)


def bins_left_out(counts: IntArray) -> NDArray[np.int8]:
    """The bins that an event of users or items with these (n,) counts stands for. Of large counts one makes
    no difference, but would move all of a popular item's events over a bin's border."""
    return magnitude_bins(np.maximum(counts - (counts <= LEFT_OUT_MOST), 0))


def histograms(
    events: Events,
    blocks: IntArray,
    *,
    user_bins: NDArray[np.int8],
    item_bins: NDArray[np.int8],
    genres: BoolArray,
    scale: tuple[float, float],
) -> dict[str, NDArray[np.float64]]:
    """(blocks, bins) counts of every signal; ``blocks`` (n,) says which block an event belongs to.

    ``user_bins`` and ``item_bins`` are (n,), those of each event; 0 is an unknown user or item, which is
    counted as unknown and nowhere else. "error" counts are (sum of absolute errors, ratings), those of
    "coverage" (ratings outside their interval, inside), of known users and items alone: the error of
    strangers is another figure.
    """
    count = int(blocks.max(initial=-1)) + 1
    low, high = scale
    known_user, known_item = user_bins > 0, item_bins > 0

    def counts(where: BoolArray, places: IntArray, bins: int) -> NDArray[np.float64]:
        flat = np.bincount(blocks[where].astype(np.int64) * bins + places[where], minlength=count * bins)
        return flat.reshape(count, bins).astype(np.float64)

    def binned(values: FloatArray, bins: int) -> NDArray[np.int64]:
        places = np.nan_to_num((values - low) / (high - low) * bins)
        return np.asarray(places.astype(np.int64).clip(0, bins - 1))

    everywhere = np.ones(len(events), dtype=np.bool_)
    rated = np.isfinite(events.values)
    judged = np.isfinite(events.values - events.predicted) & known_user & known_item
    errors = np.where(judged, np.abs(events.values - events.predicted), 0.0)
    inside = np.full(len(events), np.nan) if events.inside is None else events.inside
    covered = judged & np.isfinite(inside)
    mix = np.zeros((count, max(1, genres.shape[1])))
    for genre in range(genres.shape[1]):
        mix[:, genre] = np.bincount(blocks[genres[events.items, genre] & known_item], minlength=count)
    return {
        "user_activity": counts(known_user, user_bins.astype(np.int64), MAGNITUDES),
        "item_popularity": counts(known_item, item_bins.astype(np.int64), MAGNITUDES),
        "genre_mix": mix,
        "ratings": counts(rated, binned(events.values, RATING_BINS), RATING_BINS),
        "predictions": counts(judged, binned(events.predicted, SCORE_BINS), SCORE_BINS),
        "unknown_users": counts(everywhere, known_user.astype(np.int64), 2),
        "unknown_items": counts(everywhere, known_item.astype(np.int64), 2),
        "coverage": counts(covered, np.nan_to_num(inside).astype(np.int64), 2),
        "error": np.stack(
            [np.bincount(blocks, errors, minlength=count), np.bincount(blocks, judged, minlength=count)], 1
        ).astype(np.float64),
    }
