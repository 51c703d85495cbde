"""Timestamps as files write them, made Unix seconds.

Numbers are read by what the whole column allows: seconds, milliseconds, microseconds or nanoseconds, dates
as 20191125, years, or a spreadsheet's days since 1899-12-30. Text is read as ISO 8601, day or month first
where only one of them fits, or with month names. Times without a zone are taken as UTC.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.errors import InputError

MISSING_TIME = np.iinfo(np.int64).min
NOT_A_TIME = MISSING_TIME + 1
DAY = 86_400
SPREADSHEET_EPOCH = 25_569  # days from 1899-12-30 to 1970-01-01
FEW_ODD = 0.01
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
MONTH_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
MONTHS = {name: number for number, name in enumerate(MONTH_NAMES, start=1)}
CLOCK = (
    r"(?:[T,\s]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?"
)
ZONE = r"\s*(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}:?\d{2})?"
WEEKDAY = r"(?:[A-Za-z]{3,9}\.?,?\s+)?"
PATTERNS = {
    "year": r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + CLOCK + ZONE,
    "numeric": r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<second_number>\d{1,2})(?P=mark)(?P<year>\d{4})"
    + CLOCK
    + ZONE,
    "day name": WEEKDAY
    + r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[-\s.]+(?P<name>[A-Za-z]{3,9})\.?[-,\s]+(?P<year>\d{4})"
    + CLOCK
    + ZONE,
    "name day": WEEKDAY
    + r"(?P<name>[A-Za-z]{3,9})\.?[-\s]+(?P<day>\d{1,2})(?:st|nd|rd|th)?[-,\s]+(?P<year>\d{4})"
    + CLOCK
    + ZONE,
    "unix date": r"[A-Za-z]{3}\s+(?P<name>[A-Za-z]{3})\s+(?P<day>\d{1,2})\s+"
    r"(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})(?:\s+(?P<zone>[A-Z]{3,4}|[+-]\d{4}))?"
    r"\s+(?P<year>\d{4})",
}
COMPILED = {name: re.compile(pattern, re.ASCII) for name, pattern in PATTERNS.items()}


@dataclass(frozen=True)
class Times:
    """``seconds`` (n,) int64 Unix seconds, ``MISSING_TIME`` where empty and ``NOT_A_TIME`` where unreadable.

    ``unit`` says how the file writes them; ``unreadable`` is the first text that is no time.
    """

    seconds: NDArray[np.int64]
    unit: str
    unreadable: str = ""


def times_from(column: pd.Series[Any] | NDArray[Any] | Sequence[str], *, where: str) -> Times:
    """Unix seconds of a column of numbers, dates or text.

    Raises:
        InputError: Dates that can be read day first and month first.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        return times_from_numbers(column)
    series: Any = column if isinstance(column, pd.Series) else pd.Series(column, dtype=object)
    if pd.api.types.is_datetime64_any_dtype(series):
        missing = series.isna().to_numpy()
        if getattr(series.dt, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        seconds = series.to_numpy(dtype="datetime64[s]").astype(np.int64)
        return Times(np.where(missing, MISSING_TIME, seconds), "dates")
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        if not series.isna().any():
            return times_from_numbers(series.to_numpy())
        if pd.api.types.is_integer_dtype(series):
            return times_from_numbers(
                series.fillna(MISSING_TIME).to_numpy(dtype=np.int64), missing=series.isna().to_numpy()
            )
        return times_from_numbers(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return times_from_text(series, where=where)


def times_from_numbers(numbers: NDArray[Any], *, missing: NDArray[np.bool_] | None = None) -> Times:
    """Seconds by the one unit that fits the whole column."""
    if numbers.dtype.kind == "f":
        empty = np.isnan(numbers)
        sound = np.isfinite(numbers) & (np.abs(numbers) < 9e18)
        integers = np.floor(np.where(sound, numbers, 0.0)).astype(np.int64)
        integers[~sound] = NOT_A_TIME
        integers[empty] = MISSING_TIME
        numbers, fractions = integers, numbers
    else:
        fractions = None
        if numbers.dtype.kind == "u":
            numbers = np.minimum(numbers, np.iinfo(np.int64).max)
        numbers = numbers.astype(np.int64, copy=False)
        empty = numbers == MISSING_TIME if missing is None else missing
    odd = empty | (numbers == NOT_A_TIME)
    given = numbers[~odd] if odd.any() else numbers
    if len(given) == 0:
        return Times(numbers, "none")
    seconds, unit = by_unit(given, int(given.min()), int(given.max()))
    if unit == "spreadsheet days" and fractions is not None:
        seconds = np.rint((fractions[~odd] - SPREADSHEET_EPOCH) * DAY).astype(np.int64)
    if len(given) == len(numbers):
        return Times(seconds, unit)
    result = np.where(empty, MISSING_TIME, NOT_A_TIME)
    result[~odd] = seconds
    return Times(result, unit)


def by_unit(numbers: NDArray[np.int64], low: int, high: int) -> tuple[NDArray[np.int64], str]:
    """Seconds of whole numbers between ``low`` and ``high``, and the unit's name."""
    if low >= 19_000_101 and high <= 21_001_231 and (dates := digits_as_dates(numbers, "%Y%m%d")) is not None:
        return dates, "dates as 20191125"
    for form, size, shown in (
        ("%Y%m%d%H%M%S", 10**10, "20191125103000"),
        ("%Y%m%d%H%M", 10**8, "201911251030"),
    ):
        if (
            1900 * size <= low
            and high < 2101 * size
            and (dates := digits_as_dates(numbers, form)) is not None
        ):
            return dates, f"dates as {shown}"
    if low >= 1900 and high <= 2100:
        years = (numbers - 1970).astype("datetime64[Y]").astype("datetime64[s]")
        return years.astype(np.int64), "years"
    if low > SPREADSHEET_EPOCH and high <= time.time() / DAY + SPREADSHEET_EPOCH + 1:
        return (numbers - SPREADSHEET_EPOCH) * DAY, "spreadsheet days"
    for least, divisor, name in (
        (10**17, 10**9, "nanoseconds"),
        (10**14, 10**6, "microseconds"),
        (10**11, 1000, "milliseconds"),
    ):
        if low >= least:
            return numbers // divisor, name
    return numbers, "seconds"


def digits_as_dates(numbers: NDArray[np.int64], form: str) -> NDArray[np.int64] | None:
    """Seconds where every number is a date written without marks; else None."""
    unique, rows = np.unique(numbers, return_inverse=True)
    dates = pd.to_datetime(pd.Series(unique.astype(str)), format=form, errors="coerce")
    if dates.isna().any():
        return None
    seconds: NDArray[np.int64] = dates.to_numpy(dtype="datetime64[s]").astype(np.int64)[rows]
    return seconds


def times_from_text(series: pd.Series[Any], *, where: str) -> Times:
    """Seconds of numbers or dates in text; each distinct spelling is read once."""
    codes, unique = pd.factorize(series)
    texts = ["" if text is None else str(text).strip() for text in unique.tolist()]
    seconds, unit = read_spellings(
        texts, counts=np.bincount(codes[codes >= 0], minlength=len(texts)), where=where
    )
    unreadable = next((text for text, at in zip(texts, seconds, strict=True) if at == NOT_A_TIME), "")
    return Times(np.where(codes < 0, MISSING_TIME, np.append(seconds, MISSING_TIME)[codes]), unit, unreadable)


def read_spellings(
    texts: list[str], *, counts: NDArray[np.int64], where: str
) -> tuple[NDArray[np.int64], str]:
    seconds = np.full(len(texts), NOT_A_TIME, dtype=np.int64)
    empty = np.array([not text for text in texts], dtype=np.bool_)
    seconds[empty] = MISSING_TIME
    numeric = np.array([bool(NUMBER.fullmatch(text)) for text in texts], dtype=np.bool_)
    unit = "none"
    if numeric.any():
        spelled = [texts[at] for at in np.flatnonzero(numeric)]
        exact = all(text.lstrip("+-").isdigit() and len(text) < 19 for text in spelled)
        numbers = np.array(
            [int(text) if exact else float(text) for text in spelled], dtype=np.int64 if exact else np.float64
        )
        # Where dates stand beside them, a number can only be Unix seconds.
        known = times_from_numbers(numbers)
        seconds[numeric], unit = known.seconds, known.unit
    dated = np.flatnonzero(~numeric & ~empty)
    if len(dated) == 0:
        return seconds, unit
    strings = pd.Series([texts[at] for at in dated], dtype=object)
    plain = strings.str.replace(r"\s*(?:UTC|GMT)$", "Z", regex=True)
    iso = pd.to_datetime(plain, errors="coerce", utc=True, format="ISO8601")
    known_iso = iso.notna().to_numpy()
    if known_iso.any():
        stamps = iso[known_iso].dt.tz_localize(None).to_numpy(dtype="datetime64[s]").astype(np.int64)
        seconds[dated[known_iso]] = stamps
        unit = "dates"
    rest = dated[~known_iso]
    if len(rest):
        dates, form = read_written_dates([texts[at] for at in rest], counts[rest], where=where)
        seconds[rest] = dates
        unit = form if not known_iso.any() and form else "dates"
    return seconds, unit


def read_written_dates(
    texts: list[str], counts: NDArray[np.int64], *, where: str
) -> tuple[NDArray[np.int64], str]:
    """Seconds of dates that are not ISO 8601. Day or month first is decided by the whole column."""
    matches = [match_date(text) for text in texts]
    numeric = [at for at, match in enumerate(matches) if match and match[0] == "numeric"]
    day_first = True
    unit = "dates"
    if numeric:
        firsts = np.array([int(matches[at][1]["first"]) for at in numeric])  # type: ignore[index]
        seconds_ = np.array([int(matches[at][1]["second_number"]) for at in numeric])  # type: ignore[index]
        weights = counts[numeric]
        fits_day_first = (seconds_ <= 12) & (firsts <= 31)
        fits_month_first = (firsts <= 12) & (seconds_ <= 31)
        odd_day_first = int(weights[fits_month_first & ~fits_day_first].sum())
        odd_month_first = int(weights[fits_day_first & ~fits_month_first].sum())
        either = fits_day_first & fits_month_first & (firsts != seconds_)
        if odd_day_first == odd_month_first and (odd_day_first or either.any()):
            at = next((at for at, open_ in zip(numeric, either, strict=True) if open_), numeric[0])
            refuse_ambiguous(texts[at], mixed=bool(odd_day_first), where=where)
        if min(odd_day_first, odd_month_first) > FEW_ODD * weights.sum():
            refuse_ambiguous(texts[numeric[0]], mixed=True, where=where)
        day_first = odd_day_first <= odd_month_first
        unit = "dates, day first" if day_first else "dates, month first"
    seconds = [
        NOT_A_TIME if match is None else stamp(match[0], match[1], day_first=day_first) for match in matches
    ]
    return np.array(seconds, dtype=np.int64), unit


def match_date(text: str) -> tuple[str, re.Match[str]] | None:
    """The first pattern that ``text`` fits, by name."""
    for name, pattern in COMPILED.items():
        if match := pattern.fullmatch(text):
            return name, match
    return None


def refuse_ambiguous(text: str, *, mixed: bool, where: str) -> None:
    first, second, year = re.split(r"[-/.]", text.split()[0].split("T")[0].rstrip(","))[:3]
    if mixed:
        raise InputError(
            f"{where}: dates such as {text!r} are written day first in some rows and month first "
            "in others; write them as 2020-12-31"
        )
    raise InputError(
        f"{where}: the date {text!r} can be read as {year}-{second.zfill(2)}-{first.zfill(2)} (day first) or "
        f"{year}-{first.zfill(2)}-{second.zfill(2)} (month first), and no row tells which; "
        "write dates as 2020-12-31"
    )


def stamp(kind: str, match: re.Match[str], *, day_first: bool) -> int:
    """Unix seconds of one matched date; ``NOT_A_TIME`` where there is no such day."""
    parts = match.groupdict()
    if kind == "numeric":
        first, second = int(parts["first"]), int(parts["second_number"])
        day, month = (first, second) if day_first else (second, first)
    else:
        day = int(parts["day"])
        month = int(parts["month"]) if "month" in parts else MONTHS.get(parts["name"][:3].lower(), 0)
    hour = int(parts["hour"] or 0)
    if half := (parts.get("half") or "").lower():
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    try:
        when = datetime(
            int(parts["year"]),
            month,
            day,
            hour,
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            tzinfo=zone_of(parts["zone"] or ""),
        )
    except ValueError:
        return NOT_A_TIME
    return int(when.timestamp()) if when.year >= 1970 else NOT_A_TIME


def zone_of(text: str) -> timezone:
    digits = re.search(r"([+-])(\d{2}):?(\d{2})$", text)
    if digits is None:
        return UTC
    offset = timedelta(hours=int(digits[2]), minutes=int(digits[3]))
    return timezone(-offset if digits[1] == "-" else offset)
