"""Quotes, codes for no rating, ids and items of ratings as people export them: read as meant, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.data.loading import load_dataset
from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from tests.recsys.data.examples import as_table
from tests.recsys.data.exported_rows import assert_rows, rows_of, write_rows

# Quotes


def test_an_open_quote_stops_at_its_line(tmp_path: Path) -> None:
    lines = [f"{row[0]},{row[1]},{row[2]},Plain" for row in rows_of()]
    lines[100] = '1,6,3,"Die Hard'
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating,title\n" + "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"r\.csv, line 102: a quote opens here and is not closed"):
        load_dataset(str(path))
    lines[200] = '1,11,3,Die Hard"'  # closes in words, over 99 ratings
    path.write_text("user,item,rating,title\n" + "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"line 102: a quote opens here"):
        load_dataset(str(path))
    lines[200] = '1,11,3,"Die Harder"'  # opens again: even in number
    path.write_text("user,item,rating,title\n" + "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"line 102: a quote opens here"):
        load_dataset(str(path))


@pytest.mark.parametrize("mark", ["\t", "|"])
def test_a_lone_quote_is_a_plain_character_between_tabs_and_bars(mark: str, tmp_path: Path) -> None:
    rows = [(f"u{row[0]}", row[1], row[2]) for row in rows_of()]
    rows[150] = ("u11", '"', 3)
    dataset = load_dataset(write_rows(tmp_path / "r.txt", list(rows), header="user,item,rating", mark=mark))
    assert len(dataset.ratings) == 400
    assert '"' in dataset.catalogue.ids.tolist()
    assert "quotes are read as plain characters: one opens in line 152" in dataset.quality.notes[0]


def test_quoted_line_breaks_of_any_size_keep_rows_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    lines = [f'u{n % 20},i{n // 20},{n % 5 + 1},"first\nsecond {n}"' for n in range(400)]
    lines[7] = 'u7,i0,3,"' + "a line of text\n" * 450_000 + '"'  # 6.7 MB
    lines[9] = 'u9,i0,good,"one\n\n\nfour"'
    path.write_text("user,item,stars,text\n" + "\n".join(lines) + "\n")
    dataset = load_dataset(str(path))
    assert (dataset.quality.rows, len(dataset.ratings)) == (400, 399)
    line = 1 + 7 * 2 + 450_001 + 2 + 1
    assert dataset.quality.examples[0].startswith(f"line {line}: does not parse: user='u9'")


# Codes for no rating, slips


def test_a_code_for_no_rating_is_warned_of_and_left_out(tmp_path: Path) -> None:
    rows = [(row[0], row[1], 0 if at % 3 else row[2]) for at, row in enumerate(rows_of())]
    source = write_rows(tmp_path / "r.csv", list(rows), header="user,item,rating")
    dataset = load_dataset(source)
    assert dataset.ratings.scale == RatingScale(0, 5)
    assert any("the lowest rating, 0 (266 rows), holds" in note for note in dataset.quality.notes)
    dataset = load_dataset(source, missing=[0])
    assert dataset.ratings.scale == RatingScale(1, 5)
    assert (dataset.quality.missing_codes, len(dataset.ratings), dataset.quality.rows) == (266, 134, 400)
    assert dict(dataset.quality.values)[1] == pytest.approx((dataset.ratings.values == 1).mean())


@pytest.mark.parametrize(("code", "end"), [(99, "highest"), (-1, "lowest"), (55, "highest")])
def test_an_end_that_stands_apart_is_warned_of(code: int, end: str, tmp_path: Path) -> None:
    rows = rows_of()
    rows[3] = (*rows[3][:2], code, rows[3][3])
    source = write_rows(tmp_path / "r.csv", rows)
    assert any(f"the {end} rating, {code} (1 rows)" in note for note in load_dataset(source).quality.notes)
    dataset = load_dataset(source, scale=RatingScale(1, 5))
    assert (dataset.quality.outside_scale, len(dataset.ratings)) == (1, 399)
    assert not any("rating," in note for note in dataset.quality.notes)


def test_an_explicit_scale_leaves_out_any_share(tmp_path: Path) -> None:
    rows = [(*row[:2], 9 if at % 2 else row[2], row[3]) for at, row in enumerate(rows_of())]
    dataset = load_dataset(write_rows(tmp_path / "r.csv", list(rows)), scale=RatingScale(1, 5))
    assert dataset.quality.outside_scale == 200


# Ids


def test_names_that_look_like_nothing_are_names(tmp_path: Path) -> None:
    rows = rows_of()
    for at, name in enumerate(["NA", "null", "nan", "None", "N/A", "NULL", "#N/A"]):
        rows[at] = (name, *rows[at][1:])
    assert_rows(load_dataset(write_rows(tmp_path / "r.csv", rows)), rows)


def test_a_column_of_whole_floats_is_whole_numbers(tmp_path: Path) -> None:
    rows = rows_of()
    floats = [(f"{row[0]}.0", f"{row[1]}.0", *row[2:]) for row in rows]
    assert_rows(load_dataset(write_rows(tmp_path / "r.csv", list(floats))), rows)
    floats[0] = ("1", *floats[0][1:])  # not all: names
    assert "2.0" in load_dataset(write_rows(tmp_path / "r.csv", list(floats))).user_ids.tolist()


@pytest.mark.parametrize("pad", [" {}", "{} ", "\u00a0{}", '" {} "'])
def test_spaces_around_ids_do_not_count(pad: str, tmp_path: Path) -> None:
    rows = rows_of()
    padded = [(pad.format(row[0]) if at % 2 else row[0], *row[1:]) for at, row in enumerate(rows)]
    assert_rows(load_dataset(write_rows(tmp_path / "r.csv", list(padded))), rows)


@pytest.mark.parametrize(
    "ids",
    [
        ["007", "7"],
        ["anna", "ben"],
        [str(2**62), str(2**63 + 5)],
        [str(2**64 + 1), "1"],
        ["+5", "5"],
        ["-3", "3"],
        ["0", "00"],
    ],
)
def test_one_answer_by_both_doors(ids: list[str], tmp_path: Path) -> None:
    rows = [(int(str(row[0])) + 100, *row[1:]) for row in rows_of()]
    rows[0], rows[1] = (ids[0], *rows[0][1:]), (ids[1], *rows[1][1:])
    header = "userId,movieId,rating,timestamp"
    alone = load_dataset(write_rows(tmp_path / "r.csv", rows, header=header))
    (tmp_path / "folder").mkdir()
    write_rows(tmp_path / "folder" / "ratings.csv", rows, header=header)
    folder = load_dataset(str(tmp_path / "folder"))
    assert_rows(alone, rows)
    assert_rows(folder, rows)
    assert alone.sha256 == folder.sha256
    assert folder.licence == ""
    frame = pd.DataFrame(rows, columns=header.split(","))
    frame["userId"] = frame["userId"].astype(str)
    frame.to_parquet(tmp_path / "r.parquet")
    assert load_dataset(str(tmp_path / "r.parquet")).sha256 == alone.sha256


def test_unsigned_ids_and_empty_ones_in_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(rows_of(), columns=["user", "item", "rating", "timestamp"])
    big = frame.assign(user=frame["user"].to_numpy(dtype=np.uint64) + np.uint64(2**63))
    big.to_parquet(tmp_path / "big.parquet")
    assert as_table(load_dataset(str(tmp_path / "big.parquet")))["userId"][0] == str(2**63 + 1)
    text = frame.assign(user=["" if at == 0 else f" u{user}" for at, user in enumerate(frame["user"])])
    text.to_parquet(tmp_path / "text.parquet")
    dataset = load_dataset(str(tmp_path / "text.parquet"))
    assert dataset.quality.unparsable == 1
    assert dataset.quality.examples[0].startswith("line 1: does not parse: user=''")
    assert dataset.user_ids.tolist()[0] == "u1"


def test_movielens_scale_and_licence_need_movielens_values(tmp_path: Path) -> None:
    (tmp_path / "ten").mkdir()
    rows = [(*row[:2], int(str(row[2])) * 2, row[3]) for row in rows_of()]
    write_rows(tmp_path / "ten" / "ratings.csv", list(rows), header="userId,movieId,rating,timestamp")
    dataset = load_dataset(str(tmp_path / "ten"))
    assert_rows(dataset, list(rows))
    assert (dataset.ratings.scale, dataset.licence) == (RatingScale(2, 10), "")
    (tmp_path / "tweets").mkdir()
    tweets = [(row[0], f"{int(str(row[1])):07}", *row[2:]) for row in rows]
    write_rows(tmp_path / "tweets" / "ratings.dat", list(tweets), header=None, mark="::")
    (tmp_path / "tweets" / "movies.dat").write_text("0000001::First (1999)::Drama\n")
    dataset = load_dataset(str(tmp_path / "tweets"))
    assert_rows(dataset, list(tweets))
    assert dataset.quality.titles == (1, 20)


# Items


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("i.csv", "id;title;genres\n1;One (1990);A|B\n2;Two;\n", "utf-8"),
        ("i.tsv", "id\ttitle\tgenres\n1\tOne (1990)\tA|B\n2\tTwo\t\n", "utf-8"),
        ("i.csv", "id,title,genres\n1,One (1990),A|B\n2,Two,\n", "utf-16"),
        ("i.csv", "movieId,title,genres\n1.0,One (1990),A|B\n2.0,Two,\n", "utf-8"),
        ("i.csv", "id,code,title,genres\ntt01,1,One (1990),A|B\ntt02,2,Two,\n", "utf-8"),
    ],
)
def test_items_by_the_column_that_matches(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    dataset = load_dataset(write_rows(tmp_path / "r.csv", rows_of()), items=tmp_path / name)
    assert dataset.catalogue.titles[0] == "One (1990)"
    assert dataset.catalogue.genres[0] == ("A", "B")
    assert dataset.quality.titles == (2, 20)
    assert f"{name}: titles for 2 of 20 items" in dataset.quality.notes


def test_items_that_match_nothing_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("id,title\ntt1,One\n")
    source = write_rows(tmp_path / "r.csv", rows_of())
    with pytest.raises(InputError, match=r"i\.csv: titles for 0 of 20 items: .*tt1.*--items-optional"):
        load_dataset(source, items=tmp_path / "i.csv")
    assert load_dataset(source, items=tmp_path / "i.csv", items_optional=True).quality.titles == (0, 20)
