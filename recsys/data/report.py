"""What was understood of a file of ratings, as JSON for programs and as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from recsys.data.dataset import Dataset
from recsys.types import JsonObject


def describe_dataset(file: str, dataset: Dataset) -> JsonObject:
    """One file's report; ``rows`` are ``kept`` and all of ``left_out``."""
    quality, ratings = dataset.quality, dataset.ratings
    times = None
    if ratings.times is not None and len(ratings.times):
        low, high = int(np.min(ratings.times)), int(np.max(ratings.times))
        times = {"first": iso(low), "last": iso(high), "unit": quality.time_unit or "seconds"}
    left_out = quality.left_out_by_reason()
    return {
        "file": file,
        "refused": None,
        "rows": quality.rows or len(ratings),
        "kept": len(ratings),
        "left_out": left_out,
        "users": ratings.user_count,
        "items": ratings.item_count,
        "scale": [ratings.scale.low, ratings.scale.high],
        "values": {f"{value:g}": round(share, 6) for value, share in quality.values},
        "times": times,
        "duplicates": quality.duplicate_pairs,
        "titles": None if quality.titles is None else {"matched": quality.titles[0], "of": quality.titles[1]},
        "warnings": list(quality.notes),
    }


def describe_refusal(file: str, reason: str) -> JsonObject:
    """The report of a file that is not read."""
    return {
        "file": file,
        "refused": reason,
        "rows": None,
        "kept": None,
        "left_out": {},
        "users": None,
        "items": None,
        "scale": None,
        "values": {},
        "times": None,
        "duplicates": None,
        "titles": None,
        "warnings": [],
    }


def report_lines(report: JsonObject, dataset: Dataset) -> list[str]:
    """The report in words."""
    quality = dataset.quality
    lines = list(quality.reading)
    lines.append(f"{report['rows']:,} rows read, {report['kept']:,} kept, {quality.left_out:,} left out")
    lines += [f"  {reason.replace('_', ' ')}: {count:,}" for reason, count in report["left_out"].items()]
    lines += [f"    {example}" for example in quality.examples]
    lines.append(f"{report['users']:,} people, {report['items']:,} items")
    lines.append(scale_line(dataset))
    if report["times"]:
        times = report["times"]
        lines.append(f"times: {times['first']} .. {times['last']} (written as {times['unit']})")
    lines.append(f"rated twice: {report['duplicates']:,}")
    if report["titles"]:
        lines.append(f"titles for {report['titles']['matched']:,} of {report['titles']['of']:,} items")
    lines += [f"note: {note}" for note in quality.notes]
    return lines


def quality_lines(dataset: Dataset) -> list[str]:
    """The rating scale, the rows left out at load with the first examples, and every note."""
    quality = dataset.quality
    lines = [scale_line(dataset)]
    if quality.left_out:
        reasons = quality.left_out_by_reason().items()
        counts = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in reasons)
        lines.append(f"left out {quality.left_out:,} of {quality.rows:,} rows: {counts}")
        lines += [f"  e.g. {example}" for example in quality.examples[:3]]
    return lines + [f"note: {note}" for note in quality.notes]


def scale_line(dataset: Dataset) -> str:
    """The scale, where it came from, and the share of each rating."""
    scale, quality = dataset.ratings.scale, dataset.quality
    origin = f" ({quality.scale_origin})" if quality.scale_origin else ""
    return f"scale {scale.low:g} .. {scale.high:g}{origin}{shares_text(quality.values)}"


def shares_text(values: Sequence[tuple[float, float]], most: int = 21) -> str:
    if not values or len(values) > most:
        return ""
    return ": " + ", ".join(f"{value:g} {share:.1%}" for value, share in values)


def iso(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
