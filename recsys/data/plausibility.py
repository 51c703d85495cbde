"""What looks untrue about ratings and times without being wrong: codes for "none", slips, times in 1970."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

MOST_SHOWN = 101  # distinct ratings; more are a continuous scale
GAP = 1.5  # usual steps
LARGE = 0.25  # share of all ratings
YEAR = 31_536_000  # seconds


Distinct = tuple[NDArray[np.float32], NDArray[np.int64]]  # each rating, ascending, and how often it stands


def value_shares(distinct: Distinct) -> tuple[tuple[float, float], ...]:
    """(rating, share) of each distinct rating, ascending; empty where there are too many."""
    unique, counts = distinct
    if len(unique) > MOST_SHOWN:
        return ()
    return tuple(
        (float(f"{value:.7g}"), float(count / counts.sum()))
        for value, count in zip(unique.tolist(), counts.tolist(), strict=True)
    )


def value_warnings(distinct: Distinct) -> list[str]:
    """Warnings of an end of the scale that stands apart, or holds a share that its neighbours do not."""
    unique, counts = distinct
    if len(unique) < 3:
        return []
    steps, shares = np.diff(unique), counts / counts.sum()
    few = len(unique) <= MOST_SHOWN
    warnings = []
    for end, neighbour, step, usual in (
        (0, 1, steps[0], steps[1:]),
        (-1, -2, steps[-1], steps[:-1]),
    ):
        value, share = float(unique[end]), float(shares[end])
        inner = float(np.median(usual))
        apart = step > GAP * inner if few else step > 0.1 * float(usual.sum())
        heavy = share >= LARGE and share > 4 * float(shares[neighbour])
        heavy |= end == 0 and value <= 0 and share >= 0.1 and share > 1.5 * float(shares[neighbour])
        if apart or (heavy and few):
            why = (
                f"stands apart from the next, {unique[neighbour]:g}"
                if apart
                else f"holds {share:.0%} of all ratings, the next value {shares[neighbour]:.0%}"
            )
            what = "lowest" if end == 0 else "highest"
            warnings.append(
                f"the {what} rating, {value:g} ({counts[end]:,} rows), {why}: a code for none, or a slip? "
                f"--missing {value:g} leaves such rows out, --scale LOW:HIGH all outside a scale"
            )
    return warnings


def time_trouble(times: NDArray[np.int64]) -> str:
    """Why an order by ``times`` means nothing; "" where it does."""
    if len(times) == 0:
        return ""
    low, high = int(times.min()), int(times.max())
    if low == high and len(times) > 1:
        return f"all times are equal ({datetime.fromtimestamp(low, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    if high < YEAR:
        return f"all times are in 1970 (the largest is {high:,} seconds): they are hardly Unix seconds"
    return ""


def time_warnings(times: NDArray[np.int64]) -> tuple[str, ...]:
    """A warning where ``time_trouble`` has a reason."""
    trouble = time_trouble(times)
    return (f"{trouble}: splits by time are refused",) if trouble else ()
