"""Tables written together with their truth: reading gives the truth, or refuses; never other rows in silence.

``make fuzz`` or RECSYS_TABLES=2000 writes more of them. The second test breaks tables at random: every
physical line must be a row, a counted bad line, a blank or a part of a closed quote.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.data.loading import load_dataset
from recsys.data.readers import text as text_reader
from recsys.data.readers.columns import Columns
from recsys.data.readers.text import read_text
from recsys.errors import InputError
from tests.recsys.data.examples import as_table

TABLES = int(os.environ.get("RECSYS_TABLES", "120"))
PIECES = [b'"', b"\n", b"\r", b",", b"", b"\xff", b"x", b"\0", b" "]
MARKS = [",", ";", "\t", "|", "::"]
ID_KINDS: dict[str, Callable[[int], str]] = {
    "whole": lambda number: str(number),
    "padded": lambda number: f"{number:05}",
    "floats": lambda number: f"{number}.0",
    "names": lambda number: ["NA", "null", "nan", "josé", "日本", "a b"][number % 6] + str(number // 6 or ""),
    "quoted": lambda number: f'the "{number}" one',
    "uuid": lambda number: f"{number:08x}-0000-4000-8000-{number:012x}",
    "large": lambda number: str(2**63 + number),
    "signed": lambda number: str(number - 5),
}
RATINGS = {"whole": "{:.0f}", "point": "{:.1f}", "exponent": "{:.1e}", "comma": "{:.1f}"}
TIMES = ["none", "seconds", "milliseconds", "float", "iso", "dmy", "compact"]


@dataclass(frozen=True)
class Table:
    """A file's bytes and the rows it means: (user, item, rating, Unix seconds or None)."""

    name: str
    content: bytes
    rows: list[tuple[str, str, float, int | None]]
    header: bool


def plain_id(kind: str, text: str) -> str:
    return text[:-2] if kind == "floats" else text


@st.composite
def tables(draw: st.DrawFn) -> Table:
    mark = draw(st.sampled_from(MARKS))
    kinds = [draw(st.sampled_from(sorted(ID_KINDS))) for _ in range(2)]
    rating, time = draw(st.sampled_from(sorted(RATINGS))), draw(st.sampled_from(TIMES))
    header = draw(st.booleans())
    quote_all = draw(st.booleans()) and mark != "::"
    note = draw(st.booleans()) and mark != "::"
    size = draw(st.integers(12, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = random.choice(15 * 12, size, replace=False)
    stars = random.integers(1, 6, size) if rating == "whole" else random.integers(1, 11, size) / 2
    stars[:2] = [1, 5]
    days = random.integers(10_957, 18_000, size)
    days[:2] = [11_000, 12_345]
    rows, lines = [], []
    for pair, value, day in zip(pairs.tolist(), stars.tolist(), days.tolist(), strict=True):
        ids = [ID_KINDS[kind](number + 1) for kind, number in zip(kinds, divmod(pair, 12), strict=True)]
        if mark == "::":
            ids = [text.replace('"', "") for text in ids]
        seconds = day * 86_400 + (0 if time in ("dmy", "compact") else 3_661)
        spelled = RATINGS[rating].format(value)
        stamp = np.datetime64(seconds, "s").item()
        fields = [*ids, spelled.replace(".", ",") if rating == "comma" else spelled]
        fields += {
            "none": [],
            "seconds": [str(seconds)],
            "milliseconds": [f"{seconds}123"],
            "float": [f"{seconds}.0"],
            "iso": [stamp.isoformat()],
            "dmy": [f"{stamp:%d/%m/%Y}"],
            "compact": [f"{stamp:%Y%m%d}"],
        }[time]
        if note:
            fields.append(draw(st.sampled_from(["", "fine", "two\nlines", f"a{mark}b", 'he said "no"'])))
        rows.append(
            (
                plain_id(kinds[0], ids[0]),
                plain_id(kinds[1], ids[1]),
                value,
                None if time == "none" else seconds,
            )
        )
        lines.append(fields)
    if rating == "comma" and mark == "," and not quote_all:
        quote_all = True
    names = ["user_id", "item_id", "rating", *(["timestamp"] if time != "none" else []), *(["review"] * note)]
    if header:
        lines.insert(0, names)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    if mark == "::":
        text = "".join("::".join(fields) + end for fields in lines)
    else:
        out = io.StringIO()
        quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
        csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting).writerows(lines)
        text = out.getvalue()
    content = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    packed = draw(st.booleans())
    return Table(
        "r.csv.gz" if packed else "r.csv", gzip.compress(content) if packed else content, rows, header
    )


@pytest.mark.parametrize("block", [1 << 25, 300])
@settings(deadline=None, max_examples=TABLES, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_reading_gives_the_truth(
    table: Table, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_reader, "BLOCK", block)
    (tmp_path / table.name).write_bytes(table.content)
    dataset = load_dataset(str(tmp_path / table.name), header=table.header)
    read = as_table(dataset)
    assert read["userId"].tolist() == [row[0] for row in table.rows]
    assert read["movieId"].tolist() == [row[1] for row in table.rows]
    assert read["rating"].tolist() == [row[2] for row in table.rows]
    if dataset.ratings.times is not None:
        assert read["timestamp"].tolist() == [row[3] for row in table.rows]
    else:
        assert table.rows[0][3] is None
    assert dataset.quality.rows == len(table.rows)


@settings(deadline=None, max_examples=TABLES, suppress_health_check=list(HealthCheck))
@given(
    start=st.binary(max_size=60),
    cuts=st.lists(
        st.tuples(
            st.integers(0, 400), st.sampled_from([b'"', b"\n", b"\r", b",", b"", b"\xff", b"x", b"\0", b" "])
        ),
        max_size=8,
    ),
    mark=st.sampled_from([b",", b";", b"\t", b"|", b"::", b"  "]),
)
def test_broken_tables_lose_no_line_in_silence(
    start: bytes, cuts: list[tuple[int, bytes]], mark: bytes, tmp_path: Path
) -> None:
    data = b"user,item,rating,note\n" + b"".join(
        b"u%d,i%d,%d,word\n" % (row % 7, row, row % 5 + 1) for row in range(40)
    )
    data = data.replace(b",", mark)
    for at, piece in cuts:
        data = data[:at] + piece + data[at + 1 :]
    data += start
    path = tmp_path / "r.csv"
    path.write_bytes(data)
    try:
        raw = read_text(path, columns=Columns("user", "item", "rating"))
    except InputError:
        return
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    physical = text.count("\n") + (not text.endswith("\n"))
    assert len(raw) + len(raw.skipped) + raw.first_line - 1 == physical
    assert len(raw) + raw.unparsable <= physical
    assert [raw.line_of(row) for row in range(len(raw))] == sorted(
        {raw.line_of(row) for row in range(len(raw))}
    )
