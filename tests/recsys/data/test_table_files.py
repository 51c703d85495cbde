"""A user's own CSV or Parquet: column names, ids of any kind, scale, items; and all that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.data.loading import load_dataset
from recsys.data.ratings import RatingScale
from recsys.data.readers import text
from recsys.data.readers.columns import Columns
from recsys.errors import InputError
from tests.recsys.data.examples import as_table, table

HEADER = "who,what,stars,at\n"
NAMED = Columns("who", "what", "stars", "at")


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def many(count: int = 200) -> str:
    """Good lines: users u0.., items i0.., 1 to 5 stars."""
    return "".join(f"u{row % 20},i{row // 20},{row % 5 + 1},{10**9 + row}\n" for row in range(count))


def test_named_columns_and_text_ids(tmp_path: Path) -> None:
    source = write(
        tmp_path / "mine.csv", HEADER + "bob,Ubik,4,1000000000\nal,Ubik,2,1000000001\nbob,7,10,5\n"
    )
    dataset = load_dataset(source, columns=NAMED)
    assert as_table(dataset).values.tolist() == [
        ["bob", "Ubik", 4.0, 1000000000],
        ["al", "Ubik", 2.0, 1000000001],
        ["bob", "7", 10.0, 5],
    ]
    assert dataset.user_ids.tolist() == ["al", "bob"]
    assert dataset.ratings.scale == RatingScale(2, 10)  # as found
    assert dataset.name == "mine"
    assert load_dataset(source, columns=NAMED, scale=RatingScale(0, 10)).ratings.scale == RatingScale(0, 10)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", "::"])
def test_usual_names_and_separators_are_found(mark: str, tmp_path: Path) -> None:
    lines = [["User-ID", "ISBN", "Book-Rating"], ["7", "003", "8"], ["11", "03", "2"], ["7", "03", "5"]]
    source = write(tmp_path / "books.csv", "\n".join(mark.join(line) for line in lines) + "\n")
    dataset = load_dataset(source)
    assert dataset.catalogue.ids.tolist() == ["003", "03"]  # leading zeros are part of an id
    assert dataset.user_ids.tolist() == ["7", "11"]  # whole numbers in their own order
    assert dataset.ratings.values.tolist() == [8, 2, 5]
    assert dataset.ratings.times is None
    assert "no timestamps" in dataset.quality.notes[-1]


def test_parquet_with_any_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "user": pd.Categorical(["b", "a", "b"]),
            "item": [3.0, 1.0, 1.0],  # what pandas makes of whole numbers with gaps
            "rating": [1, 5, 3],
            "date": pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"]),
        }
    )
    frame.to_parquet(tmp_path / "own.parquet")
    dataset = load_dataset(str(tmp_path / "own.parquet"))
    assert as_table(dataset)["movieId"].tolist() == ["3", "1", "1"]
    assert dataset.user_ids.tolist() == ["a", "b"]
    assert dataset.ratings.times is not None
    assert dataset.ratings.times.tolist() == [1577836800, 1609459200, 1640995200]


def test_dates_in_text(tmp_path: Path) -> None:
    lines = "a,x,1,2020-01-01 00:00:10\nb,x,5,2020-01-01T00:00:20Z\nb,y,5,1577836830\n"
    dataset = load_dataset(write(tmp_path / "d.csv", HEADER + lines), columns=NAMED)
    assert dataset.ratings.times is not None
    assert (dataset.ratings.times - 1577836800).tolist() == [10, 20, 30]


def test_an_items_file(tmp_path: Path) -> None:
    items = write(
        tmp_path / "items.csv", 'id,name,genres\nUbik,"Ubik, a novel (1969)",SF|Drama\nother,Other,\n'
    )
    source = write(tmp_path / "r.csv", HEADER + "bob,Ubik,4,1\nal,unknown,2,2\n")
    dataset = load_dataset(source, columns=NAMED, items=Path(items))
    assert list(dataset.catalogue.titles) == ["Ubik, a novel (1969)", "", "Other"]
    assert list(dataset.catalogue.genres) == [("SF", "Drama"), (), ()]
    with pytest.raises(InputError, match=r"nowhere\.csv: no such items file"):
        load_dataset(source, columns=NAMED, items=tmp_path / "nowhere.csv")
    bad = write(tmp_path / "bad.csv", "a,b\n1,2\n")
    with pytest.raises(
        InputError, match=r"bad\.csv: no column looks like the item; its columns are 'a', 'b'"
    ):
        load_dataset(source, columns=NAMED, items=Path(bad))


def test_a_wrong_column_names_the_right_ones(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", "person,movie,stars\na,b,3\n")
    with pytest.raises(
        InputError, match=r"no column 'movies' for item; its columns are 'person', 'movie', 'stars'; did"
    ):
        load_dataset(source, columns=Columns("person", "movies", "stars"))
    with pytest.raises(InputError, match=r"no column looks like the user; its columns are 'person'"):
        load_dataset(source)


def test_few_bad_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    bad = [
        "u1,iX,none,1\n",  # no rating
        "u1,iX\n",  # too short
        ",iX,3,1\n",  # no user
        "u1,iY,9,1\n",  # outside the scale
        "u2,iY,3,-5\n",  # before 1970
        "u2,iZ,3,soon\n",  # no time
    ]
    source = write(tmp_path / "r.csv", HEADER + many(1000) + "".join(bad) + "\n")
    dataset = load_dataset(source, columns=NAMED, scale=RatingScale(1, 5))
    quality = dataset.quality
    assert (quality.rows, quality.unparsable) == (1006, 3)
    assert (quality.outside_scale, quality.impossible_times, quality.duplicate_pairs) == (1, 2, 0)
    assert len(dataset.ratings) == 1000
    assert quality.examples == (
        "line 1002: does not parse: who='u1', what='iX', stars='none', at='1'; "
        "the rating is not a number: expected a number such as 4, 4.5 or 4,5",
        "line 1003: 2 columns where 4 are expected: 'u1,iX'",
        "line 1004: does not parse: who=(empty), what='iX', stars='3', at='1'",
        "line 1005: rating 9 is outside 1 .. 5",
        "line 1006: timestamp -5 is not between 1970 and now",
        "line 1007: the timestamp is not a date (as 'soon'): expected Unix seconds, or dates such as "
        "2020-12-31 23:59",
    )
    assert (quality.rows, quality.left_out) == (1_006, 6)
    assert not {"iX", "iY", "iZ"} & set(dataset.catalogue.ids.tolist())


def test_too_many_bad_rows_stop_the_run(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", HEADER + many(100) + "u1,iX,?,1\nu2,iX,!,1\n")
    with pytest.raises(
        InputError, match=r"r\.csv, line 102: does not parse: .*stars='\?'.*; 2 of 102 rows are bad"
    ) as e:
        load_dataset(source, columns=NAMED)
    assert "2 do not parse" in str(e.value)
    assert len(load_dataset(source, columns=NAMED, max_bad_share=0.05).ratings) == 100


def test_milliseconds_among_seconds_are_impossible(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", HEADER + "a,b,1,1600000000000\nc,d,2,1600000000\n")
    with pytest.raises(InputError, match=r"line 2: timestamp 1600000000000 .*look like milliseconds"):
        load_dataset(source, columns=NAMED)


def test_the_last_rating_of_a_pair_is_kept(tmp_path: Path) -> None:
    again = "u0,i0,5,1000000900\nu0,i1,5,5\n"  # later than the first one; earlier than the first one
    source = write(tmp_path / "r.csv", HEADER + many(200) + again)
    dataset = load_dataset(source, columns=NAMED)
    assert dataset.quality.duplicate_pairs == 2
    rows = as_table(dataset).set_index(["userId", "movieId"])
    assert rows.loc[("u0", "i0"), "rating"] == 5
    assert rows.loc[("u0", "i1"), "rating"] == 1
    untimed = source.replace("r.csv", "untimed.csv")
    pd.read_csv(source).drop(columns="at").to_csv(untimed, index=False)
    rows = as_table(load_dataset(untimed, columns=Columns("who", "what", "stars"))).set_index(
        ["userId", "movieId"]
    )
    assert rows.loc[("u0", "i1"), "rating"] == 5  # without times, the last row


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, r"none\.csv: no such file or folder"),
        ("empty.csv", b"", r"empty\.csv: the file is empty"),
        ("header.csv", HEADER.encode(), r"header\.csv: no ratings in it"),
        (
            "cut.csv",
            (HEADER + many(50) + "u1,i").encode(),
            r"cut\.csv: cut short: line 52 ends in its middle",
        ),
        ("cut.parquet", b"PAR1....", r"cut\.parquet: not a whole Parquet file"),
        (
            "one.csv",
            (HEADER + "a,b,3,1\n").encode(),
            r"one\.csv: every rating is 3; expected ratings that differ",
        ),
        ("odd.xlsx", b"PK", r"odd\.xlsx: cannot read a \.xlsx file; expected \.csv or \.parquet"),
        ("latin.csv", (HEADER + "Zo\xeb,b,3,1\na,b,1,1\n").encode("latin-1"), r"latin\.csv.*not UTF-8"),
    ],
)
def test_files_that_cannot_be(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_dataset(str(tmp_path / name), columns=NAMED)


def test_a_missing_last_line_break_is_noted(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "r.csv", HEADER + many(50).rstrip("\n")), columns=NAMED)
    assert len(dataset.ratings) == 50
    assert dataset.quality.notes == ("r.csv does not end with a line break: it may have been cut short",)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.integers(20, 400),
    bad=st.sets(st.integers(0, 199), max_size=2),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_blocks_and_bad_lines_never_shift_rows(
    block: int, bad: set[int], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    lines = many(200).splitlines()
    for at in bad:
        lines[at] = f"u1,i1,broken,{at}"
    source = write(tmp_path / "r.csv", "")
    Path(source).write_bytes((HEADER.rstrip() + end + end.join(lines) + end).encode())
    dataset = load_dataset(source, columns=NAMED)
    kept = [line.split(",") for at, line in enumerate(lines) if at not in bad]
    assert as_table(dataset)["userId"].tolist() == [line[0] for line in kept]
    assert as_table(dataset)["timestamp"].tolist() == [int(line[3]) for line in kept]
    assert dataset.quality.unparsable == len(bad)
    if bad:
        assert dataset.quality.examples[0].startswith(f"line {min(bad) + 2}:")


def test_huge_whole_number_ids(tmp_path: Path) -> None:
    frame = table(50).assign(userId=lambda rows: rows["userId"] * 10**14)
    frame.to_parquet(tmp_path / "r.parquet")
    dataset = load_dataset(str(tmp_path / "r.parquet"))
    assert as_table(dataset)["userId"].astype(np.int64).tolist() == frame["userId"].tolist()
