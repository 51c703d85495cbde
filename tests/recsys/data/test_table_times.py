"""Times of ratings as people export them: read as meant, or refused with the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.data.loading import load_dataset
from recsys.data.splits import make_split
from recsys.errors import InputError
from tests.recsys.data.exported_rows import rows_of, write_rows

WHEN = pd.Timestamp("2019-11-25 13:04:05")
TIMES: list[tuple[str, Callable[[pd.Timestamp], object], str]] = [
    ("milliseconds", lambda t: int(t.timestamp() * 1000), "s"),
    ("microseconds", lambda t: int(t.timestamp() * 1e6), "s"),
    ("float seconds", lambda t: f"{t.timestamp():.1f}", "s"),
    ("iso", lambda t: t.isoformat(), "s"),
    ("utc", lambda t: f"{t:%Y-%m-%d %H:%M:%S} UTC", "s"),
    ("zone", lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+00:00", "s"),
    ("digits", lambda t: f"{t:%Y%m%d%H%M%S}", "s"),
    ("twitter", lambda t: f"{t:%a %b %d %H:%M:%S} +0000 {t.year}", "s"),
    ("am and pm", lambda t: f"{t:%m/%d/%Y %I:%M:%S %p}", "s"),
    ("days", lambda t: f"{t:%Y%m%d}", "D"),
    ("day first", lambda t: f"{t:%d/%m/%Y}", "D"),
    ("dots", lambda t: f"{t:%d.%m.%Y}", "D"),
    ("month first", lambda t: f"{t:%m/%d/%Y}", "D"),
    ("month name", lambda t: f"{t:%b %d %Y}", "D"),
    ("long name", lambda t: f"{t:%d %B %Y}", "D"),
    ("slashes", lambda t: f"{t:%Y/%m/%d}", "D"),
    ("spreadsheet", lambda t: (t.normalize() - pd.Timestamp("1899-12-30")).days, "D"),
    ("years", lambda t: t.year, "Y"),
]


@pytest.mark.parametrize(
    ("spell", "unit"), [(entry[1], entry[2]) for entry in TIMES], ids=[entry[0] for entry in TIMES]
)
def test_times_in_other_spellings(spell: Callable[[pd.Timestamp], object], unit: str, tmp_path: Path) -> None:
    stamps = [WHEN + pd.Timedelta(days=3 * at, seconds=at) for at in range(400)]
    rows = [(*row[:3], spell(stamp)) for row, stamp in zip(rows_of(), stamps, strict=True)]
    expected = np.array(stamps, dtype=f"datetime64[{unit}]").astype("datetime64[s]").astype(np.int64)
    times = load_dataset(write_rows(tmp_path / "r.csv", list(rows))).ratings.times
    assert times is not None
    assert times.tolist() == expected.tolist()


def test_a_date_with_two_readings_is_refused_with_both(tmp_path: Path) -> None:
    rows = [(*row[:3], f"{at % 12 + 1:02}/03/2020") for at, row in enumerate(rows_of())]
    with pytest.raises(InputError, match=r"'01/03/2020' can be read as 2020-03-01 .* or 2020-01-03"):
        load_dataset(write_rows(tmp_path / "r.csv", list(rows)))


def test_empty_times_are_shown_as_empty(tmp_path: Path) -> None:
    rows = rows_of()
    rows[4] = (*rows[4][:3], "")
    dataset = load_dataset(write_rows(tmp_path / "r.csv", rows))
    assert dataset.quality.empty_times == 1
    assert dataset.quality.examples == ("line 6: the timestamp is empty",)


@pytest.mark.parametrize(("time", "note"), [(7, "all times are equal"), (None, "all times are in 1970")])
def test_times_that_mean_nothing_refuse_a_split_by_time(time: int | None, note: str, tmp_path: Path) -> None:
    rows = [(*row[:3], 1_500_000_000 if time else at + 1) for at, row in enumerate(rows_of())]
    dataset = load_dataset(write_rows(tmp_path / "r.csv", list(rows)))
    assert any(note in text for text in dataset.quality.notes)
    for protocol in ("temporal", "future-holdout"):
        with pytest.raises(InputError, match=note):
            make_split(dataset, protocol, seed=0)
    make_split(dataset, "random,gate=off", seed=0)
