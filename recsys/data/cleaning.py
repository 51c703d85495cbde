"""Raw ratings checked: what cannot be is left out and counted, and too much of it stops the run.

Left out are rows that do not parse, ratings outside the scale, ratings that stand for "none", impossible
timestamps, and all but one rating of a pair. Rows that are bad in themselves stop the run above
``MAX_BAD_SHARE``; pairs rated twice, codes named by ``missing`` and an explicit scale leave out any share.
Timestamps missing from more than ``MAX_BAD_SHARE`` of the rows are no fault of the rows: the dataset then
has no times, with a note.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Quality
from recsys.data.plausibility import time_warnings, value_shares, value_warnings
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.readers.ids import EXAMPLES, EncodedIds, RawRatings
from recsys.data.readers.times import MISSING_TIME, NOT_A_TIME
from recsys.errors import InputError
from recsys.types import BoolArray

MAX_BAD_SHARE = 0.01
FEW = 5
LARGEST_RATING = 1e8  # a column that lies above it holds times
CLOCK_SLACK = 86_400  # seconds that another machine's clock may be ahead
Duplicates = Literal["last", "mean", "stop"]


@dataclass(frozen=True)
class Cleaned:
    ratings: Ratings
    user_ids: NDArray[np.str_]
    item_ids: NDArray[np.str_]
    quality: Quality


@dataclass
class RowFilter:
    """Rows to leave out, and why."""

    raw: RawRatings
    keep: BoolArray
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def leave_out(self, kind: str, bad: BoolArray, reason: str) -> None:
        """Drop ``bad`` rows; ``reason`` may hold {value} and {time} of the row."""
        bad &= self.keep
        rows = np.flatnonzero(bad)
        self.counts[kind] = len(rows)
        for row in rows[:3].tolist():
            stamp = "" if self.raw.times is None else self.raw.times[row]
            text = reason.format(value=f"{self.raw.values[row]:g}", time=stamp)
            self.examples.append(f"line {self.raw.line_of(row)}: {text}")
        if len(rows):
            self.keep &= ~bad


def clean(
    raw: RawRatings,
    *,
    scale: RatingScale | None,
    scale_given: bool = False,
    missing: Sequence[float] = (),
    duplicates: Duplicates = "last",
    max_bad_share: float = MAX_BAD_SHARE,
    now: float | None = None,
) -> Cleaned:
    """Ratings that can be worked with, and the report.

    Args:
        raw: What a reader found.
        scale: The rating scale; None is the range of the values.
        scale_given: Whether the user named the scale: then rows outside it never stop the run.
        missing: Ratings that mean there is none.
        duplicates: Which rating of a pair stays: the newest, or their mean; or stop at the first.
        max_bad_share: Of rows that are bad in themselves; more stop the run.
        now: Unix seconds; later timestamps are impossible.

    Raises:
        InputError: With file, line and reason, where too many rows are bad.
    """
    rows = RowFilter(raw, np.ones(len(raw), dtype=np.bool_), examples=list(raw.examples))
    if missing:
        code = np.isin(raw.values, np.array(missing, dtype=np.float32))
        rows.leave_out("missing_codes", code, "rating {value} means that there is none")
    scale_origin = "as asked for" if scale_given else "MovieLens's" if scale else "lowest and highest rating"
    if len(raw) == 0:
        refuse(
            raw, Quality(rows=raw.unparsable, unparsable=raw.unparsable, examples=raw.examples), max_bad_share
        )
    values = raw.values if rows.keep.all() else raw.values[rows.keep]
    warnings: list[str] = []
    if not scale_given and len(values):
        distinct, counts = raw.distinct if values is raw.values else np.unique(values, return_counts=True)
        in_scale = np.ones(len(distinct), np.bool_)
        if scale is not None:
            in_scale = (distinct >= scale.low) & (distinct <= scale.high)
        warnings += value_warnings((distinct[in_scale], counts[in_scale]))
    if scale is None:
        scale = observed_scale(raw, values)
    outside = (raw.values < scale.low) | (raw.values > scale.high)
    rows.leave_out("outside_scale", outside, f"rating {{value}} is outside {scale.low:g} .. {scale.high:g}")
    times, notes = check_times(rows, time.time() if now is None else now)
    pairs = repeated_pairs(raw, rows.keep)
    merged = merged_values(raw, rows.keep) if duplicates == "mean" and pairs.any() else None
    rows.leave_out("duplicate_pairs", pairs, "this pair is rated again")
    if times is not None:
        notes = (*notes, *time_warnings(times if rows.keep.all() else times[rows.keep]))
    quality = Quality(
        rows=len(raw) + raw.unparsable,
        unparsable=raw.unparsable,
        examples=tuple(rows.examples[: EXAMPLES * 3]),
        notes=(*raw.notes, *warnings, *notes),
        few=FEW,
        scale_origin=scale_origin,
        time_unit=raw.time_unit if times is not None else "",
        reading=reading_lines(raw),
        outside_scale=rows.counts["outside_scale"],
        duplicate_pairs=rows.counts["duplicate_pairs"],
        impossible_times=rows.counts["impossible_times"],
        empty_times=rows.counts["empty_times"],
        missing_codes=rows.counts.get("missing_codes", 0),
    )
    if duplicates == "stop" and quality.duplicate_pairs:
        example = next(text for text in rows.examples if text.endswith("rated again"))
        raise InputError(
            f"{raw.where}, {example}; {quality.duplicate_pairs:,} rows repeat a user-item pair; "
            "--duplicates last keeps the newest of each, --duplicates mean their mean"
        )
    bad = quality.unparsable + quality.impossible_times + quality.empty_times
    if not scale_given:
        bad += quality.outside_scale
    if bad > max_bad_share * quality.rows or not rows.keep.any():
        refuse(raw, quality, max_bad_share)
    keep = None if rows.keep.all() else np.flatnonzero(rows.keep)
    users, items = encode_kept(raw.users, keep), encode_kept(raw.items, keep)
    values = raw.values if merged is None else merged
    ratings = Ratings(
        users=users.rows,
        items=items.rows,
        values=values if keep is None else values[keep],
        times=times if keep is None or times is None else times[keep],
        scale=scale,
        user_count=len(users.ids),
        item_count=len(items.ids),
    )
    untouched = ratings.values is raw.values
    distinct_values = raw.distinct if untouched else np.unique(ratings.values, return_counts=True)
    quality = replace(with_few(quality, ratings), values=value_shares(distinct_values))
    return Cleaned(ratings, users.ids, items.ids, quality)


def reading_lines(raw: RawRatings) -> tuple[str, ...]:
    """What the reader understood of the file, a fact a line."""
    reading = raw.reading
    facts = {
        "layout": reading.kind,
        "encoding": reading.encoding,
        "separator": reading.separator,
        "header": reading.header,
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    return (*lines, *(f"column for {column}" for column in reading.columns))


def observed_scale(raw: RawRatings, values: NDArray[np.float32]) -> RatingScale:
    """The lowest and highest value there is."""
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    if not low < high:
        what = f"every rating is {low:g}" if len(values) else "no row of it holds a rating"
        raise InputError(f"{raw.where}: {what}; expected ratings that differ")
    if low > LARGEST_RATING:
        raise InputError(
            f"{raw.where}: every rating is above {LARGEST_RATING:,.0f}, as timestamps are; "
            "name the ratings' column with --rating-column and the times' with --time-column"
        )
    return RatingScale(low, high)


def check_times(rows: RowFilter, now: float) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The times, None where they are absent or mostly empty, and notes on them."""
    times = rows.raw.times
    rows.counts |= {"impossible_times": 0, "empty_times": 0}
    if times is None:
        return None, ("no timestamps: splits and features by time are not to be had",)
    missing = times == MISSING_TIME
    count = int(np.count_nonzero(missing))
    if count > MAX_BAD_SHARE * len(times):
        note = f"{count:,} of {len(times):,} rows have no timestamp: times are not used"
        return None, (note,)
    if count:
        rows.leave_out("empty_times", missing.copy(), "the timestamp is empty")
    bad = ((times < 0) | (times > now + CLOCK_SLACK)) & ~missing
    reason = "timestamp {time} is not between 1970 and now"
    if bad.any() and np.median(times[bad]) > 1e11:
        reason += " (the column holds Unix seconds; these look like milliseconds)"
    unreadable = bad & (times == NOT_A_TIME)
    rows.leave_out("impossible_times", bad & ~unreadable, reason)
    outside = rows.counts["impossible_times"]
    rows.leave_out("impossible_times", unreadable, unreadable_reason(rows.raw.unreadable_time))
    rows.counts["impossible_times"] += outside
    return times, ()


def unreadable_reason(text: str) -> str:
    """Why a time is left out, with the first such text as found."""
    shown = f" (as {text[:40]!r})".replace("{", "(").replace("}", ")") if text else ""
    return f"the timestamp is not a date{shown}: expected Unix seconds, or dates such as 2020-12-31 23:59"


def pair_keys(raw: RawRatings) -> NDArray[np.int64]:
    pairs = raw.users.rows.astype(np.int64) * len(raw.items.ids)
    pairs += raw.items.rows
    return pairs


def repeated_pairs(raw: RawRatings, keep: BoolArray) -> BoolArray:
    """(n,) True for each rating of a pair but its last one."""
    repeated = np.zeros(len(raw), dtype=np.bool_)
    pairs = pair_keys(raw)
    if np.all(pairs[1:] > pairs[:-1]):
        return repeated  # sorted already, as MovieLens's CSVs are
    ordered = np.sort(pairs if keep.all() else pairs[keep])
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if len(twice) == 0:
        return repeated
    rows = np.flatnonzero(np.isin(pairs, twice) & keep)
    when = rows if raw.times is None else raw.times[rows]
    rows = rows[np.lexsort((rows, when, pairs[rows]))]
    repeated[rows[:-1][pairs[rows[1:]] == pairs[rows[:-1]]]] = True
    return repeated


def merged_values(raw: RawRatings, keep: BoolArray) -> NDArray[np.float32]:
    """(n,) each kept row's rating, the mean of its pair's."""
    values = raw.values.copy()
    rows = np.flatnonzero(keep)
    _, pair = np.unique(pair_keys(raw)[rows], return_inverse=True)
    sums = np.bincount(pair, weights=raw.values[rows].astype(np.float64))
    values[rows] = (sums / np.bincount(pair))[pair].astype(np.float32)
    return values


def encode_kept(encoded: EncodedIds, keep: NDArray[np.int64] | None) -> EncodedIds:
    """Ids of the kept rows, without those that lost all of theirs."""
    if keep is None:
        return encoded
    rows = encoded.rows[keep]
    used = np.bincount(rows, minlength=len(encoded.ids)) > 0
    lookup = (np.cumsum(used) - 1).astype(np.int32)
    return EncodedIds(lookup[rows], encoded.ids[used])


def with_few(quality: Quality, ratings: Ratings) -> Quality:
    few = [
        int(np.count_nonzero(np.bincount(rows, minlength=count) < FEW))
        for rows, count in ((ratings.users, ratings.user_count), (ratings.items, ratings.item_count))
    ]
    return replace(quality, users_with_few=few[0], items_with_few=few[1])


def refuse(raw: RawRatings, quality: Quality, max_bad_share: float) -> None:
    kinds = {
        "do not parse": quality.unparsable,
        "are outside the rating scale": quality.outside_scale,
        "have an impossible timestamp": quality.impossible_times,
        "have an empty timestamp": quality.empty_times,
        "mean that there is no rating": quality.missing_codes,
    }
    why = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    first = f", {quality.examples[0]}" if quality.examples else ""
    raise InputError(
        f"{raw.where}{first}; {quality.left_out:,} of {quality.rows:,} rows are bad ({why}), "
        f"and more than {max_bad_share:.0%} stops the run; correct the file"
    )
