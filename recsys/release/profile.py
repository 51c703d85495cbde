"""What live events looked like when a release was made: the reference that drift is measured against.

Packed with the release. Signals over windows of ``window`` rating events: the users' activity, the
items' popularity, the genre mix, the ratings, the predicted ratings, the shares unknown, and the mean
absolute error. Distances are PSI for categories, KS for ordered values, a relative rise for the error.
Thresholds are no table's: the time-ordered training events are cut into windows, every second one sets
the thresholds, and the others measure the false alarms that those would have raised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import Split
from recsys.types import Arrays, BoolArray, FloatArray, IntArray, JsonObject

UNKNOWN = -1
SCORE_BINS = 20
# A threshold stands this far above the largest distance that calibration saw.
HEADROOM = 1.5
# Alarms need a signal to be over its threshold in this many windows in a row.
CONSECUTIVE = 2
# The newest windows are enough to calibrate on; 32 million ratings would give 32,000.
MOST_WINDOWS = 400


@dataclass(frozen=True)
class Events:
    """Rating events in time order. ``users``, ``items`` (n,) rows of the release, -1 if it knows none;
    ``values``, ``predicted`` (n,) stars, NaN where not known."""

    users: IntArray
    items: IntArray
    values: FloatArray
    predicted: FloatArray

    def __len__(self) -> int:
        return len(self.users)

    def slice(self, start: int, stop: int) -> Events:
        span = slice(start, stop)
        return Events(self.users[span], self.items[span], self.values[span], self.predicted[span])


@dataclass(frozen=True)
class Profile:
    """``signals`` maps a name to {"shares", "threshold", "false_alarm_rate", "labels"}; the arrays place
    a user (users,) and an item (items,) in its activity and popularity bin; ``genres`` is (items, genres)."""

    window: int
    signals: JsonObject
    error: JsonObject
    scale: tuple[float, float]
    user_bins: NDArray[np.int8]
    item_bins: NDArray[np.int8]
    genres: BoolArray

    def pack(self) -> tuple[JsonObject, Arrays]:
        """As JSON and arrays; ``unpack`` takes both back."""
        numbers = {
            "window": self.window,
            "signals": self.signals,
            "error": self.error,
            "scale": list(self.scale),
        }
        return numbers, {"user_bins": self.user_bins, "item_bins": self.item_bins, "genres": self.genres}


def unpack(numbers: JsonObject, arrays: Arrays) -> Profile:
    low, high = numbers["scale"]
    return Profile(
        window=numbers["window"],
        signals=numbers["signals"],
        error=numbers["error"],
        scale=(low, high),
        user_bins=arrays["user_bins"],
        item_bins=arrays["item_bins"],
        genres=arrays["genres"],
    )


def magnitude_bins(counts: IntArray) -> NDArray[np.int8]:
    """0 for none, then one bin each doubling: the bin of (n,) counts."""
    return np.minimum(np.ceil(np.log2(np.asarray(counts, dtype=np.float64) + 1)), 24).astype(np.int8)


def histograms(
    events: Events,
    *,
    user_bins: NDArray[np.int8],
    item_bins: NDArray[np.int8],
    genres: BoolArray,
    scale: tuple[float, float],
) -> dict[str, NDArray[np.float64]]:
    """Counts of every signal; rows of -1 are counted as unknown and nowhere else."""
    known_users = events.users[events.users >= 0]
    known_items = events.items[events.items >= 0]
    low, high = scale
    span = high - low

    def binned(values: FloatArray, count: int) -> NDArray[np.float64]:
        finite = values[np.isfinite(values)]
        places = np.clip(((finite - low) / span * count).astype(np.int64), 0, count - 1)
        return np.bincount(places, minlength=count).astype(np.float64)

    errors = np.abs(events.values - events.predicted)
    errors = errors[np.isfinite(errors)]
    unknown_users = float(len(events) - len(known_users))
    unknown_items = float(len(events) - len(known_items))
    return {
        "user_activity": np.bincount(user_bins[known_users], minlength=25).astype(np.float64),
        "item_popularity": np.bincount(item_bins[known_items], minlength=25).astype(np.float64),
        "genre_mix": genres[known_items].sum(axis=0, dtype=np.float64),
        "ratings": binned(events.values, 10),
        "predictions": binned(events.predicted, SCORE_BINS),
        "unknown_users": np.array([unknown_users, float(len(known_users))]),
        "unknown_items": np.array([unknown_items, float(len(known_items))]),
        "error": np.array([float(errors.sum()), float(len(errors))]),
    }


ORDERED = ("ratings", "predictions")
ARRIVALS = ("unknown_users", "unknown_items")
# A mean absolute error over fewer ratings says nothing.
FEWEST_ERRORS = 30


def distance(name: str, expected: FloatArray, seen: FloatArray) -> float:
    """PSI, or KS for ordered signals, between two histograms; for "error" ((2,) sum and count) the
    relative rise of the mean. 0 when one of them is empty."""
    if expected.sum() == 0 or seen.sum() == 0:
        return 0.0
    if name == "error":
        if seen[1] < FEWEST_ERRORS or expected[0] == 0:
            return 0.0
        return max(0.0, float(seen[0] / seen[1] / (expected[0] / expected[1]) - 1))
    if name in ORDERED:
        first, second = np.cumsum(expected / expected.sum()), np.cumsum(seen / seen.sum())
        return float(np.abs(first - second).max())
    # Half a count in every bin keeps an empty bin from making the index infinite.
    first = (expected + 0.5) / (expected + 0.5).sum()
    second = (seen + 0.5) / (seen + 0.5).sum()
    if name in ARRIVALS and second[0] <= first[0]:
        return 0.0  # fewer strangers than usual are no drift
    return float(np.sum((second - first) * np.log(second / first)))


def build_profile(
    ratings: Ratings, predicted: FloatArray, genres: BoolArray, *, window: int = 500
) -> Profile:
    """The profile of ``ratings`` (train and valid, say) with a prediction (n,) for each, NaN where none.

    Without times the order is that of the file: then the windows are no time slices, and
    ``error["ordered_by"]`` says so. Needs eight windows; a smaller dataset gets smaller windows.
    """
    window = max(20, min(window, len(ratings) // 16))
    order = np.arange(len(ratings)) if ratings.times is None else np.argsort(ratings.times, kind="stable")
    users, items = ratings.users[order], ratings.items[order]
    user_bins = magnitude_bins(np.bincount(ratings.users, minlength=ratings.user_count))
    item_bins = magnitude_bins(np.bincount(ratings.items, minlength=ratings.item_count))
    scale = (ratings.scale.low, ratings.scale.high)
    events = Events(users, items, ratings.values[order], predicted[order])
    first_user, first_item = _first_places(users), _first_places(items)
    expected = histograms(events, user_bins=user_bins, item_bins=item_bins, genres=genres, scale=scale)
    distances: dict[str, list[float]] = {name: [] for name in expected}
    start_of_windows = max(len(events) // 2, len(events) - MOST_WINDOWS * window)
    arrivals = {"unknown_users": np.zeros(2), "unknown_items": np.zeros(2)}
    later: list[dict[str, NDArray[np.float64]]] = []
    for start in range(start_of_windows, len(events) - window + 1, window):
        part = events.slice(start, start + window)
        seen = histograms(part, user_bins=user_bins, item_bins=item_bins, genres=genres, scale=scale)
        # A release made where the windows start would go on not knowing whom it met since: unknown users
        # and items grow with its age, and that much of it is no drift.
        for name, first, rows in (
            ("unknown_users", first_user, part.users),
            ("unknown_items", first_item, part.items),
        ):
            new = float((first[rows] >= start_of_windows).sum())
            seen[name] = np.array([new, window - new])
            arrivals[name] += seen[name]
        later.append(seen)
    expected |= arrivals
    for seen in later:
        for name, counts in seen.items():
            distances[name].append(distance(name, expected[name], counts))
    return Profile(
        window=window,
        signals={name: _calibrate(expected[name], values) for name, values in distances.items()},
        error=_error_level(events, "time" if ratings.times is not None else "file"),
        scale=scale,
        user_bins=user_bins,
        item_bins=item_bins,
        genres=genres,
    )


def profile_of_run(dataset: Dataset, split: Split, valid_predictions: FloatArray | None = None) -> Profile:
    """The profile of a run's train and valid ratings. ``valid_predictions`` (valid,) stars by models that
    were not trained on valid: only an error on unseen ratings is like the error in production."""
    rows = np.concatenate([split.train, split.valid])
    predicted = np.full(len(rows), np.nan, dtype=np.float32)
    if valid_predictions is not None:
        predicted[len(split.train) :] = valid_predictions
    return build_profile(dataset.ratings.take(rows), predicted, dataset.catalogue.genre_matrix())


def _first_places(rows: IntArray) -> NDArray[np.int64]:
    """(rows.max() + 1,) the first place at which each row number stands."""
    first = np.full(int(rows.max(initial=0)) + 1, len(rows), dtype=np.int64)
    # Written from the last place to the first: the first one stays.
    first[rows[::-1]] = np.arange(len(rows))[::-1]
    return first


def _calibrate(expected: NDArray[np.float64], distances: list[float]) -> JsonObject:
    """Thresholds from every second window; the false alarm rate of the others, alarm rule included."""
    values = np.array(distances)
    fitted, held_out = values[0::2], values[1::2]
    threshold = float(fitted.max(initial=0.0)) * HEADROOM
    over = held_out > threshold
    runs = np.convolve(over, np.ones(CONSECUTIVE), mode="valid") if len(over) >= CONSECUTIVE else np.zeros(0)
    alarms = int((runs == CONSECUTIVE).sum())
    return {
        "shares": (expected / max(expected.sum(), 1.0)).tolist(),
        "weight": float(expected.sum()),
        "threshold": threshold,
        "windows": len(held_out),
        "false_alarm_rate": alarms / max(1, len(runs)),
    }


def _error_level(events: Events, ordered_by: str) -> JsonObject:
    """Mean and spread of the absolute error where a prediction exists."""
    errors = np.abs(events.values - events.predicted)
    errors = errors[np.isfinite(errors)]
    if len(errors) == 0:
        return {"mean": None, "deviation": None, "count": 0, "ordered_by": ordered_by}
    return {
        "mean": float(errors.mean()),
        "deviation": float(errors.std()),
        "count": len(errors),
        "ordered_by": ordered_by,
    }
