"""Files that are no plain table of ratings: read where they can be, else refused for the right reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.readers.columns import Columns
from recsys.errors import InputError

HEADER = "user,item,rating,timestamp\n"
LINES = [f"{n % 20},{n // 20},{1 + n % 5},{1_500_000_000 + n}" for n in range(200)]
BODY = "\n".join(LINES) + "\n"
TABLE = (HEADER + BODY).encode()


def load(tmp_path: Path, content: bytes | str, name: str = "ratings.csv", **options: object) -> Dataset:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_dataset(str(path), **options)  # type: ignore[arg-type]


def zipped(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gzip under another name.csv", gzip.compress(TABLE)),
        ("two members.csv.gz", gzip.compress(TABLE[:500]) + gzip.compress(TABLE[500:])),
        ("zip under another name.csv", zipped(**{"ratings.csv": TABLE.decode()})),
        ("end of file of DOS.csv", TABLE + b"\x1a"),
    ],
)
def test_a_table_in_another_wrapping_is_read_whole(tmp_path: Path, name: str, content: bytes) -> None:
    dataset = load(tmp_path, content, name)
    assert len(dataset.ratings) == dataset.quality.rows == 200
    assert dataset.quality.left_out == 0


def parquet_bytes() -> bytes:
    packed = io.BytesIO()
    pq.write_table(pa.table({"user": [1], "item": [2], "rating": [3.0]}), packed)
    return packed.getvalue()


def database_bytes() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE ratings (user, item, rating)")
        return connection.serialize()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (parquet_bytes, "this is a Parquet file: name it .parquet"),
        (database_bytes, "this is an SQLite database: export the table as CSV"),
        (lambda: bz2.compress(TABLE), "packed with bzip2: unpack it first"),
        (lambda: lzma.compress(TABLE), "packed with xz: unpack it first"),
        (lambda: zipped(**{"xl/workbook.xml": "<x/>", "a.xml": "<x/>"}), "an Excel workbook: save the sheet"),
        (lambda: pickle.dumps({"user": list(range(300))}, protocol=4), "a Python pickle, which is not read"),
        (lambda: TABLE.decode().encode("utf-16-le"), "UTF-16 without its byte order mark; save it as UTF-8"),
        (lambda: TABLE + b"\0" * 512, "holds NUL bytes: cut off, damaged or not text; copy it again"),
        (lambda: b'{"user":"1","item":"2","rating":3}\n' * 9, "holds JSON, not a table"),
        (lambda: b"<html><body>Please log in</body></html>\n", r"holds HTML or XML \(a login page\?\)"),
        (lambda: b"user^item^rating\n1^2^3\n", "one column, such as 'user.item.rating'; expected user, item"),
        (
            lambda: b"# from 2020\n" + TABLE,
            "its first line is not part of the table: '# from 2020'; .*remove",
        ),
        (lambda: b"sep=;\n" + TABLE.replace(b",", b";"), "its first line is not part of the table: 'sep="),
        (lambda: b"user,item,rating,rating\n1,2,3,4\n", "two columns are called 'rating'; rename one"),
    ],
)
def test_what_it_is_and_what_to_do(tmp_path: Path, make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load(tmp_path, make())


def test_a_name_that_promises_gzip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a gzip file, whatever its name says"):
        load(tmp_path, TABLE, "ratings.csv.gz")


@pytest.mark.parametrize("preamble", ["# made by x, 2020\n", "sep=,\n", "Exported ratings\nof 2020\n"])
def test_the_advice_on_a_preamble_works(tmp_path: Path, preamble: str) -> None:
    with pytest.raises(InputError, match="remove what stands before them"):
        load(tmp_path, preamble + HEADER + BODY)
    assert len(load(tmp_path, HEADER + BODY).ratings) == 200


def test_times_in_the_place_of_ratings(tmp_path: Path) -> None:
    swapped = "".join(f"{n % 20},{n // 20},{1_500_000_000 + n},{1 + n % 5}\n" for n in range(200))
    with pytest.raises(InputError, match="as timestamps are; name the ratings' column with --rating-column"):
        load(tmp_path, swapped, header=False)
    columns = Columns(rating="timestamp", timestamp="rating")  # as the columns are named by position
    dataset = load(tmp_path, swapped, header=False, columns=columns)
    assert (dataset.ratings.scale.low, dataset.ratings.scale.high) == (1, 5)
    assert dataset.ratings.times is not None
    assert int(np.min(dataset.ratings.times)) == 1_500_000_000


@pytest.mark.parametrize("odd", ["1e400", "inf", "yesterday", "31/31/2020"])
@pytest.mark.parametrize("unit", [1, 1000])
def test_a_time_that_is_none_is_shown_as_found(tmp_path: Path, odd: str, unit: int) -> None:
    lines = [f"{n % 20},{n // 20},{1 + n % 5},{(1_500_000_000 + n) * unit}" for n in range(200)]
    lines[3] = lines[3].rsplit(",", 1)[0] + f",{odd}"
    dataset = load(tmp_path, HEADER + "\n".join(lines) + "\n")
    assert dataset.quality.left_out_by_reason() == {"impossible_times": 1}
    assert f"line 5: the timestamp is not a date (as '{odd}'): expected" in "".join(dataset.quality.examples)
    assert dataset.ratings.times is not None
    assert int(np.max(dataset.ratings.times)) == 1_500_000_199


@pytest.mark.parametrize(
    ("items", "titled", "note"),
    [
        ("id,title\n" + "".join(f"{n},Title {n}\n" for n in range(10)), 10, ""),
        ("id,title\n" + "".join(f"{n},\n" for n in range(10)), 0, "it knows 10 of them, and has no column"),
        ("id\n" + "".join(f"{n}\n" for n in range(10)), 0, "it knows 10 of them, and has no column"),
        ("id,name\n" + "".join(f"{n},x\n" for n in range(5)), 5, "titles for 5 of 10 items"),
    ],
)
def test_titles_are_counted_not_ids(tmp_path: Path, items: str, titled: int, note: str) -> None:
    (tmp_path / "items.csv").write_text(items)
    dataset = load(tmp_path, TABLE, items=tmp_path / "items.csv")
    assert dataset.quality.titles == (titled, 10)
    assert note in "".join(dataset.quality.notes)


def test_items_without_a_header_lose_none(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("".join(f"{n},Title {n},Drama\n" for n in range(10)))
    with pytest.raises(InputError, match="its first line is an item, not the columns' names: '0', 'Title 0'"):
        load(tmp_path, TABLE, items=tmp_path / "items.csv")
