"""Raw ratings judged: what cannot be is left out and counted, and too much of it stops the run.

Left out are rows that do not parse, ratings outside the scale, impossible timestamps, and all but the
last rating of a pair (by time, else by row). Timestamps missing from more than ``MAX_BAD_SHARE`` of the
rows are no fault of the rows: the dataset then has no times, with a note.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Quality
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.readers.ids import EXAMPLES, MISSING_TIME, EncodedIds, RawRatings
from recsys.errors import InputError
from recsys.types import BoolArray

MAX_BAD_SHARE = 0.01
FEW = 5
CLOCK_SLACK = 86_400  # seconds that another machine's clock may be ahead


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
        """Drop ``bad`` rows; ``reason`` may hold {value} and {time} of the first."""
        bad &= self.keep
        count = int(np.count_nonzero(bad))
        self.counts[kind] = count
        if count == 0:
            return
        first = int(np.argmax(bad))
        stamp = "" if self.raw.times is None else self.raw.times[first]
        if len(self.examples) < EXAMPLES:
            text = reason.format(value=f"{self.raw.values[first]:g}", time=stamp)
            self.examples.append(f"line {self.raw.line_of(first)}: {text}")
        self.keep &= ~bad


def clean(
    raw: RawRatings,
    *,
    scale: RatingScale | None,
    max_bad_share: float = MAX_BAD_SHARE,
    now: float | None = None,
) -> Cleaned:
    """Ratings that can be worked with, and the report. ``scale`` None is found from the values.

    ``InputError`` with file, line and reason where more than ``max_bad_share`` of the rows are bad.
    """
    findings = RowFilter(raw, np.ones(len(raw), dtype=np.bool_), examples=list(raw.examples))
    if scale is None:
        scale = observed_scale(raw)
    outside = (raw.values < scale.low) | (raw.values > scale.high)
    findings.leave_out(
        "outside_scale", outside, f"rating {{value}} is outside {scale.low:g} .. {scale.high:g}"
    )
    times, notes = check_times(findings, time.time() if now is None else now)
    findings.leave_out("duplicate_pairs", repeated_pairs(raw, findings.keep), "this pair is rated again")
    quality = Quality(
        rows=len(raw) + raw.unparsable,
        unparsable=raw.unparsable,
        examples=tuple(findings.examples[:EXAMPLES]),
        notes=(*raw.notes, *notes),
        few=FEW,
        **findings.counts,
    )
    if quality.left_out > max_bad_share * quality.rows:
        refuse(raw, quality, max_bad_share)
    keep = None if findings.keep.all() else np.flatnonzero(findings.keep)
    users, items = encode_kept(raw.users, keep), encode_kept(raw.items, keep)
    ratings = Ratings(
        users=users.rows,
        items=items.rows,
        values=raw.values if keep is None else raw.values[keep],
        times=times if keep is None or times is None else times[keep],
        scale=scale,
        user_count=len(users.ids),
        item_count=len(items.ids),
    )
    return Cleaned(ratings, users.ids, items.ids, with_few(quality, ratings))


def observed_scale(raw: RawRatings) -> RatingScale:
    """The lowest and highest value there is."""
    low, high = float(raw.values.min(initial=np.inf)), float(raw.values.max(initial=-np.inf))
    if not low < high:
        what = f"every rating is {low:g}" if len(raw) else "no row of it holds a rating"
        raise InputError(f"{raw.where}: {what}; expected ratings that differ")
    return RatingScale(low, high)


def check_times(findings: RowFilter, now: float) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    times = findings.raw.times
    findings.counts["impossible_times"] = 0
    if times is None:
        return None, ("no timestamps: splits and features by time are not to be had",)
    missing = times == MISSING_TIME
    count = int(np.count_nonzero(missing))
    if count > MAX_BAD_SHARE * len(times):
        note = f"{count:,} of {len(times):,} rows have no timestamp: times are not used"
        return None, (note,)
    bad = (times < 0) | (times > now + CLOCK_SLACK)
    reason = "timestamp {time} is not between 1970 and now"
    if np.count_nonzero(bad) and np.median(times[bad]) > 1e11:
        reason += " (Unix seconds are expected; these look like milliseconds)"
    if count and bad[missing].all():
        reason = reason.replace(str(MISSING_TIME), "(none)")
    findings.leave_out("impossible_times", bad, reason)
    return times, ()


def repeated_pairs(raw: RawRatings, keep: BoolArray) -> BoolArray:
    """(n,) True for each rating of a pair but its last one."""
    repeated = np.zeros(len(raw), dtype=np.bool_)
    pairs = raw.users.rows.astype(np.int64) * len(raw.items.ids)
    pairs += raw.items.rows
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


def encode_kept(keys: EncodedIds, keep: NDArray[np.int64] | None) -> EncodedIds:
    """Keys of the kept rows, without ids that lost all of theirs."""
    if keep is None:
        return keys
    rows = keys.rows[keep]
    used = np.bincount(rows, minlength=len(keys.ids)) > 0
    lookup = (np.cumsum(used) - 1).astype(np.int32)
    return EncodedIds(lookup[rows], keys.ids[used])


def with_few(quality: Quality, ratings: Ratings) -> Quality:
    few = [
        int(np.count_nonzero(np.bincount(rows, minlength=count) < FEW))
        for rows, count in ((ratings.users, ratings.user_count), (ratings.items, ratings.item_count))
    ]
    return Quality(**{**quality.__dict__, "users_with_few": few[0], "items_with_few": few[1]})


def refuse(raw: RawRatings, quality: Quality, max_bad_share: float) -> None:
    kinds = {
        "do not parse": quality.unparsable,
        "are outside the rating scale": quality.outside_scale,
        "repeat a user-item pair": quality.duplicate_pairs,
        "have an impossible timestamp": quality.impossible_times,
    }
    why = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    first = quality.examples[0] if quality.examples else ""
    raise InputError(
        f"{raw.where}, {first}; {quality.left_out:,} of {quality.rows:,} rows are bad ({why}), "
        f"and more than {max_bad_share:.0%} stops the run; correct the file"
    )
