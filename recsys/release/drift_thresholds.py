"""Windows and thresholds of the drift signals, by resampling whole users.

People rate in bursts, so ratings of one user are no independent draws: a window of 500 ratings may be five
people. Streams of ``HORIZON`` ratings are put together of whole users drawn with replacement, and held
against a reference drawn the same way (a small data set's reference is uncertain, too). For each signal
and window size the threshold is a quantile, over streams, of the largest distance that two windows running
both had: what an alarm needs. Other streams, and streams after the change that the signal is there to see,
give its false alarms and its power; the window that sees the change soonest is taken. Where no window sees
it within ``HORIZON`` ratings, the signal is not watched: too few to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray, JsonObject

HORIZON = 10_000  # ratings of a stream
BASE_WINDOW = 250
WINDOW_SIZES = (250, 500, 1000, 2000, 4000)
CONSECUTIVE = 2  # windows in a row over the threshold that make an alarm
STREAMS = 200
FALSE_ALARMS = 0.0025  # of one signal in a stream of HORIZON ratings; nine signals: 2%
HEADROOM = 1.15  # over that quantile: it is known from STREAMS streams only
SEEN = 0.9  # of the changed streams must alarm within "within" ratings
FEWEST_USERS = 8
FEWEST_ERRORS = 30  # a mean absolute error, or a coverage, over fewer ratings says nothing
UNKNOWN_LEAST, UNKNOWN_MOST = 0.2, 0.5  # thresholds of the shares unknown lie between
ORDERED = ("ratings", "predictions")
# The change that each signal is there to see: its power is that of seeing this one.
CHANGES = {
    "user_activity": "the most active users are as rare as the least active were",
    "item_popularity": "popularity reversed",
    "genre_mix": "each genre as frequent as its neighbour was",
    "ratings": "every rating a quarter of the scale lower",
    "predictions": "every prediction a quarter of the scale lower",
    "unknown_users": "60% unknown users",
    "unknown_items": "60% unknown items",
    "error": "predictions shuffled",
    "coverage": "a third of the ratings inside their interval fall outside",
}


@dataclass(frozen=True)
class BlockCounts:
    """``usual`` and ``changed`` map a signal to (blocks, bins) counts, ``sizes`` (blocks,) is how many
    ratings each block has and ``owners`` (blocks,) the number of its user, ascending. ``noise`` draws, by
    signal, how far the reference may be off besides who rated, (bins,) in the same units."""

    usual: Mapping[str, NDArray[np.float64]]
    changed: Mapping[str, NDArray[np.float64]]
    sizes: NDArray[np.float64]
    owners: NDArray[np.int64]
    noise: Callable[[np.random.Generator], Mapping[str, NDArray[np.float64]]]


def distances(name: str, expected: FloatArray, seen: FloatArray) -> NDArray[np.float64]:
    """(n,) distances of windows with (n, bins) counts ``seen`` from ``expected`` (bins,) or (n, bins).

    PSI, or KS for ordered signals; for "error" ((2,) sum and count) the relative rise of the mean; for the
    shares unknown the part of what was known that no longer is, for "coverage" of what was inside. 0 where
    one of them is empty.
    """
    seen = np.asarray(seen, dtype=np.float64)
    expected = np.broadcast_to(np.asarray(expected, dtype=np.float64), seen.shape)
    totals, usual = seen.sum(axis=-1), expected.sum(axis=-1)
    if name == "error":
        valid = (seen[..., 1] >= FEWEST_ERRORS) & (expected[..., 0] > 0)
        now = seen[..., 0] / np.maximum(seen[..., 1], 1e-12)
        before = expected[..., 0] / np.maximum(expected[..., 1], 1e-12)
        return np.where(valid, np.maximum(0.0, now / np.maximum(before, 1e-12) - 1), 0.0)
    valid = (totals > 0) & (usual > 0)
    first = expected / np.maximum(usual, 1e-12)[..., None]
    second = seen / np.maximum(totals, 1e-12)[..., None]
    if name == "coverage":
        valid &= totals >= FEWEST_ERRORS
    if name.startswith("unknown") or name == "coverage":
        rise = (second[..., 0] - first[..., 0]) / np.maximum(1 - first[..., 0], 1e-12)
        return np.where(valid, rise.clip(0.0, 1.0), 0.0)
    if name in ORDERED:
        gaps = np.abs(np.cumsum(first, axis=-1) - np.cumsum(second, axis=-1))
        return np.where(valid, gaps.max(axis=-1), 0.0)
    # Half a count in every bin keeps an empty bin from making the index infinite.
    first = (expected + 0.5) / (expected + 0.5).sum(axis=-1, keepdims=True)
    second = (seen + 0.5) / (seen + 0.5).sum(axis=-1, keepdims=True)
    index = np.sum((second - first) * np.log(second / first), axis=-1)
    return np.where(valid, index, 0.0)


def choose_thresholds(
    blocks: BlockCounts, *, least: Mapping[str, float], random: np.random.Generator
) -> JsonObject:
    """What a profile says of each signal; ``least`` are thresholds that the data's own history asks for."""
    names = list(CHANGES)
    users = int(blocks.owners.max(initial=-1)) + 1
    expected = {name: blocks.usual[name].sum(axis=0) for name in names}
    if users < FEWEST_USERS:
        return {name: _signal(expected[name], None, users) for name in names}
    calibration = _streams(blocks, blocks.usual, random)
    held_out = _streams(blocks, blocks.usual, random)
    changed = _streams(blocks, blocks.changed, random)
    signals: JsonObject = {}
    for name in names:
        best: JsonObject | None = None
        for size in WINDOW_SIZES:
            pairs = _pairs(name, calibration[name], size)
            threshold = float(np.quantile(pairs.max(axis=1), 1 - FALSE_ALARMS)) * HEADROOM
            if name.startswith("unknown"):
                threshold = min(max(threshold, least.get(name, 0.0), UNKNOWN_LEAST), UNKNOWN_MOST)
            over = _pairs(name, changed[name], size) > threshold
            first = np.where(over.any(axis=1), (over.argmax(axis=1) + CONSECUTIVE) * size, np.inf)
            within = float(np.quantile(first, SEEN, method="higher"))
            if np.isfinite(within) and (best is None or within < best["power"]["within"]):
                false = _pairs(name, held_out[name], size).max(axis=1) > threshold
                best = {
                    "window": size,
                    "threshold": threshold,
                    "false_alarm_rate": float(false.mean()),
                    "power": {"change": CHANGES[name], "within": int(within), "seen": SEEN},
                }
        signals[name] = _signal(expected[name], best, users)
    return signals


def _signal(expected: NDArray[np.float64], best: JsonObject | None, users: int) -> JsonObject:
    nothing = {"window": WINDOW_SIZES[-1], "threshold": None, "false_alarm_rate": 0.0, "power": None}
    return {
        "shares": (expected / max(float(expected.sum()), 1.0)).tolist(),
        "weight": float(expected.sum()),
        "users": users,
        "watched": best is not None,
    } | (best or nothing)


Stream = tuple[NDArray[np.float64], NDArray[np.float64]]


def _streams(
    blocks: BlockCounts, counts: Mapping[str, NDArray[np.float64]], random: np.random.Generator
) -> dict[str, Stream]:
    """By signal: (streams, bins) references and (streams, windows of ``BASE_WINDOW``, bins) counts."""
    names = list(CHANGES)
    ends = np.cumsum([counts[name].shape[1] for name in names])
    parts = {name: slice(end - counts[name].shape[1], end) for name, end in zip(names, ends, strict=True)}
    joined = np.concatenate([counts[name] for name in names], axis=1)
    usual = np.concatenate([blocks.usual[name] for name in names], axis=1)
    filled = np.flatnonzero(joined.any(axis=0))  # most bins of most data are empty
    dense = np.ascontiguousarray(joined[:, filled])
    firsts = np.flatnonzero(np.diff(blocks.owners, prepend=-1))
    users = len(firsts)
    by_user = np.add.reduceat(usual, firsts, axis=0)
    windows = HORIZON // BASE_WINDOW
    references = np.empty((STREAMS, joined.shape[1]))
    seen = np.zeros((STREAMS, windows, joined.shape[1]))
    for stream in range(STREAMS):
        references[stream] = random.multinomial(users, np.full(users, 1 / users)) @ by_user
        for name, drawn in blocks.noise(random).items():
            references[stream, parts[name]] += drawn
        seen[stream, :, filled] = _one_stream(dense, blocks.sizes, firsts, windows, random).T
    references = np.maximum(references, 0.0)
    return {name: (references[:, part], seen[:, :, part]) for name, part in parts.items()}


def _one_stream(
    counts: NDArray[np.float64],
    sizes: NDArray[np.float64],
    firsts: NDArray[np.int64],
    windows: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """(windows, bins): whole users one after another; a block across a border counts by parts on both sides.

    ``firsts`` are the places of each user's first block."""
    total = windows * BASE_WINDOW
    lengths = np.diff(firsts, append=len(sizes))
    mean = sizes.sum() / len(firsts)
    drawn = np.zeros(0, dtype=np.int64)
    while sizes[drawn].sum() <= total:
        users = random.integers(0, len(firsts), int(1.2 * total / mean) + 20)
        ends = np.cumsum(lengths[users])
        offsets = np.arange(ends[-1]) - np.repeat(ends - lengths[users], lengths[users])
        drawn = np.concatenate([drawn, np.repeat(firsts[users], lengths[users]) + offsets])
    ends = np.cumsum(sizes[drawn])
    # Counts up to a border, users cut by it in proportion: differences of these are the windows.
    borders = np.arange(1, windows + 1) * BASE_WINDOW
    cut = np.searchsorted(ends, borders)
    starts = np.concatenate([[0], cut[:-1]])
    last = max(1, int(cut[-1]))
    whole = np.add.reduceat(counts[drawn[:last]], np.minimum(starts, last - 1), axis=0)
    up_to = np.cumsum(np.where((cut > starts)[:, None], whole, 0.0), axis=0)
    before = np.where(cut > 0, ends[np.maximum(cut - 1, 0)], 0.0)
    part = (borders - before) / sizes[drawn[cut]]
    reached = up_to + part[:, None] * counts[drawn[cut]]
    return np.diff(reached, axis=0, prepend=0.0)


def _pairs(name: str, streams: Stream, size: int) -> NDArray[np.float64]:
    """(streams, pairs) smallest distance of each ``CONSECUTIVE`` windows of ``size`` ratings running."""
    references, seen = streams
    times = size // BASE_WINDOW
    windows = seen.shape[1] // times
    merged = seen[:, : windows * times].reshape(len(seen), windows, times, -1).sum(axis=2)
    gaps = distances(name, references[:, None, :], merged)
    smallest: NDArray[np.float64] = np.min(
        [gaps[:, first : windows - CONSECUTIVE + 1 + first] for first in range(CONSECUTIVE)], axis=0
    )
    return smallest
