"""What live events looked like when a release was made: the reference that drift is measured against.

Packed with the release. Nine signals over windows of rating events: the users' activity, the items'
popularity, the genre mix, the ratings, the predicted ratings, the shares of unknown users and items, the
mean absolute error, and the coverage of the prediction intervals. Distances are PSI for categories, KS for
ordered values, a rise of the share unknown or outside its interval, a relative rise of the error. Each signal
has the window and the threshold that ``drift_thresholds`` worked out for it by resampling, or is not watched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import Split
from recsys.ensemble.rating_intervals import RatingIntervals, user_activity
from recsys.release.drift_blocks import ARRIVALS, blocks_of
from recsys.release.drift_signals import Events, histograms, magnitude_bins
from recsys.release.drift_thresholds import choose_thresholds
from recsys.types import Arrays, BoolArray, FloatArray, JsonObject

VERSION = 2  # of the packed form; 1 had one window for all signals and thresholds from its largest distances


@dataclass(frozen=True)
class Profile:
    """``signals`` maps a name to {"shares", "weight", "window", "threshold", "false_alarm_rate", "watched",
    "power"}; ``error`` is the level of the error on ratings that no model had seen. The arrays place a user
    (users,) and an item (items,) in its activity and popularity bin; ``genres`` is (items, genres)."""

    signals: JsonObject
    error: JsonObject
    scale: tuple[float, float]
    user_bins: NDArray[np.int8]
    item_bins: NDArray[np.int8]
    genres: BoolArray

    def pack(self) -> tuple[JsonObject, Arrays]:
        """As JSON and arrays; ``unpack`` takes both back."""
        numbers = {
            "version": VERSION,
            "signals": self.signals,
            "error": self.error,
            "scale": list(self.scale),
        }
        return numbers, {"user_bins": self.user_bins, "item_bins": self.item_bins, "genres": self.genres}


def unpack(numbers: JsonObject, arrays: Arrays) -> Profile | None:
    """None for a profile of an older version, whose thresholds raise false alarms or none at all."""
    if numbers.get("version") != VERSION:
        return None
    low, high = numbers["scale"]
    return Profile(
        signals=numbers["signals"],
        error=numbers["error"],
        scale=(low, high),
        user_bins=arrays["user_bins"],
        item_bins=arrays["item_bins"],
        genres=arrays["genres"],
    )


def window_counts(profile: Profile, events: Events) -> dict[str, NDArray[np.float64]]:
    """(bins,) counts of one window of live events."""
    users = np.where(events.users >= 0, profile.user_bins[events.users], 0)
    items = np.where(events.items >= 0, profile.item_bins[events.items], 0)
    arrays = histograms(
        events,
        np.zeros(len(events), dtype=np.int64),
        user_bins=users,
        item_bins=items,
        genres=profile.genres,
        scale=profile.scale,
    )
    return {name: counts[0] for name, counts in arrays.items()}


def build_profile(
    ratings: Ratings, predicted: FloatArray, genres: BoolArray, *, inside: FloatArray | None = None
) -> Profile:
    """The profile of ``ratings`` (train and valid, say) with a prediction (n,) for each, NaN where none; of
    ``inside`` see ``Events``.

    Without times the order is that of the file: then what is known of arrivals is no history, and
    ``error["ordered_by"]`` says so.
    """
    user_counts = np.bincount(ratings.users, minlength=ratings.user_count)
    item_counts = np.bincount(ratings.items, minlength=ratings.item_count)
    scale = (ratings.scale.low, ratings.scale.high)
    random = np.random.default_rng(0)
    arrivals = _arrivals(ratings)
    signals = choose_thresholds(
        blocks_of(ratings, predicted, genres, random, inside),
        least={name: 1.25 * share for name, share in arrivals.items()},
        random=random,
    )
    return Profile(
        signals=signals,
        error=_error_level(ratings.values - predicted, "time" if ratings.times is not None else "file"),
        scale=scale,
        user_bins=magnitude_bins(user_counts),
        item_bins=magnitude_bins(item_counts),
        genres=genres,
    )


def profile_of_run(
    dataset: Dataset,
    split: Split,
    valid_predictions: FloatArray | None = None,
    intervals: RatingIntervals | None = None,
    valid_deviations: FloatArray | None = None,
) -> Profile:
    """The profile of a run's train and valid ratings. ``valid_predictions`` (valid,) stars by models that
    were not trained on valid: only an error on unseen ratings is like the error in production;
    ``valid_deviations`` (valid,) as ``intervals`` takes them."""
    rows = np.concatenate([split.train, split.valid])
    predicted = np.full(len(rows), np.nan, dtype=np.float32)
    if valid_predictions is not None:
        predicted[len(split.train) :] = valid_predictions
    ratings, inside = dataset.ratings.take(rows), None
    if intervals is not None and valid_predictions is not None:
        valid = dataset.ratings.take(split.valid)
        activity = user_activity(dataset.ratings.take(split.train))
        inside = np.full(len(rows), np.nan)
        inside[len(split.train) :] = intervals.covers(
            valid_predictions, activity[valid.users], valid, valid_deviations
        )
        if valid_deviations is not None:
            inside[len(split.train) :][~np.isfinite(valid_deviations)] = np.nan
    return build_profile(ratings, predicted, dataset.catalogue.genre_matrix(), inside=inside)


def _arrivals(ratings: Ratings) -> dict[str, float]:
    """The share of the newer half's ratings by users, and of items, that the older half did not have."""
    if ratings.times is None or len(ratings) < 2:
        return dict.fromkeys(ARRIVALS, 0.0)
    order = np.argsort(ratings.times, kind="stable")
    half = len(order) // 2
    return {
        name: float(np.mean(~np.isin(rows[order[half:]], rows[order[:half]])))
        for name, rows in (("unknown_users", ratings.users), ("unknown_items", ratings.items))
    }


def _error_level(residual: FloatArray, ordered_by: str) -> JsonObject:
    """Mean and spread of the absolute error where a prediction exists."""
    errors = np.abs(residual)
    errors = errors[np.isfinite(errors)]
    if len(errors) == 0:
        return {"mean": None, "deviation": None, "count": 0, "ordered_by": ordered_by}
    return {
        "mean": float(errors.mean()),
        "deviation": float(errors.std()),
        "count": len(errors),
        "ordered_by": ordered_by,
    }
