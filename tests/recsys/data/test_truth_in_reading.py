"""Ratings as people export them, read truthfully or refused with the line: issue 18's ten items."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.data.__main__ import main
from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.ratings import RatingScale
from recsys.data.splits import make_split
from recsys.errors import InputError
from tests.recsys.data.examples import as_table

Row = tuple[object, ...]


def rows_of(count: int = 400) -> list[Row]:
    """Distinct pairs: (user, item, rating 1 to 5, Unix seconds)."""
    return [
        (row % 20 + 1, row // 20 + 1, row * 7 % 5 + 1, 1_500_000_000 + row * 86_400) for row in range(count)
    ]


def write(
    path: Path, rows: list[Row], *, header: str | None = "user,item,rating,timestamp", mark: str = ","
) -> str:
    lines = [mark.join(map(str, row)) for row in rows]
    if header is not None:
        lines.insert(0, header.replace(",", mark))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def same_as(dataset: Dataset, rows: list[Row]) -> None:
    read = as_table(dataset)
    assert read["userId"].tolist() == [str(row[0]) for row in rows]
    assert read["movieId"].tolist() == [str(row[1]) for row in rows]
    assert read["rating"].tolist() == [row[2] for row in rows]
    if len(rows[0]) > 3:
        assert read["timestamp"].tolist() == [row[3] for row in rows]


# 1. Quotes


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
    dataset = load_dataset(write(tmp_path / "r.txt", list(rows), header="user,item,rating", mark=mark))
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


# 2. Codes for no rating, slips


def test_a_code_for_no_rating_is_warned_of_and_left_out(tmp_path: Path) -> None:
    rows = [(row[0], row[1], 0 if at % 3 else row[2]) for at, row in enumerate(rows_of())]
    source = write(tmp_path / "r.csv", list(rows), header="user,item,rating")
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
    source = write(tmp_path / "r.csv", rows)
    assert any(f"the {end} rating, {code} (1 rows)" in note for note in load_dataset(source).quality.notes)
    dataset = load_dataset(source, scale=RatingScale(1, 5))
    assert (dataset.quality.outside_scale, len(dataset.ratings)) == (1, 399)
    assert not any("rating," in note for note in dataset.quality.notes)


def test_an_explicit_scale_leaves_out_any_share(tmp_path: Path) -> None:
    rows = [(*row[:2], 9 if at % 2 else row[2], row[3]) for at, row in enumerate(rows_of())]
    dataset = load_dataset(write(tmp_path / "r.csv", list(rows)), scale=RatingScale(1, 5))
    assert dataset.quality.outside_scale == 200


# 3. Ids


def test_names_that_look_like_nothing_are_names(tmp_path: Path) -> None:
    rows = rows_of()
    for at, name in enumerate(["NA", "null", "nan", "None", "N/A", "NULL", "#N/A"]):
        rows[at] = (name, *rows[at][1:])
    same_as(load_dataset(write(tmp_path / "r.csv", rows)), rows)


def test_a_column_of_whole_floats_is_whole_numbers(tmp_path: Path) -> None:
    rows = rows_of()
    floats = [(f"{row[0]}.0", f"{row[1]}.0", *row[2:]) for row in rows]
    same_as(load_dataset(write(tmp_path / "r.csv", list(floats))), rows)
    floats[0] = ("1", *floats[0][1:])  # not all: names
    assert "2.0" in load_dataset(write(tmp_path / "r.csv", list(floats))).user_ids.tolist()


@pytest.mark.parametrize("pad", [" {}", "{} ", "\u00a0{}", '" {} "'])
def test_spaces_around_ids_do_not_count(pad: str, tmp_path: Path) -> None:
    rows = rows_of()
    padded = [(pad.format(row[0]) if at % 2 else row[0], *row[1:]) for at, row in enumerate(rows)]
    same_as(load_dataset(write(tmp_path / "r.csv", list(padded))), rows)


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
    alone = load_dataset(write(tmp_path / "r.csv", rows, header=header))
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "ratings.csv", rows, header=header)
    folder = load_dataset(str(tmp_path / "folder"))
    same_as(alone, rows)
    same_as(folder, rows)
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
    write(tmp_path / "ten" / "ratings.csv", list(rows), header="userId,movieId,rating,timestamp")
    dataset = load_dataset(str(tmp_path / "ten"))
    same_as(dataset, list(rows))
    assert (dataset.ratings.scale, dataset.licence) == (RatingScale(2, 10), "")
    (tmp_path / "tweets").mkdir()
    tweets = [(row[0], f"{int(str(row[1])):07}", *row[2:]) for row in rows]
    write(tmp_path / "tweets" / "ratings.dat", list(tweets), header=None, mark="::")
    (tmp_path / "tweets" / "movies.dat").write_text("0000001::First (1999)::Drama\n")
    dataset = load_dataset(str(tmp_path / "tweets"))
    same_as(dataset, list(tweets))
    assert dataset.quality.titles == (1, 20)


# 4. Items


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
    dataset = load_dataset(write(tmp_path / "r.csv", rows_of()), items=tmp_path / name)
    assert dataset.catalogue.titles[0] == "One (1990)"
    assert dataset.catalogue.genres[0] == ("A", "B")
    assert dataset.quality.titles == (2, 20)
    assert f"{name}: titles for 2 of 20 items" in dataset.quality.notes


def test_items_that_match_nothing_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("id,title\ntt1,One\n")
    source = write(tmp_path / "r.csv", rows_of())
    with pytest.raises(InputError, match=r"i\.csv: titles for 0 of 20 items: .*tt1.*--items-optional"):
        load_dataset(source, items=tmp_path / "i.csv")
    assert load_dataset(source, items=tmp_path / "i.csv", items_optional=True).quality.titles == (0, 20)


# 5. Times

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
    ("spell", "unit"), [(one[1], one[2]) for one in TIMES], ids=[one[0] for one in TIMES]
)
def test_times_in_other_spellings(spell: Callable[[pd.Timestamp], object], unit: str, tmp_path: Path) -> None:
    stamps = [WHEN + pd.Timedelta(days=3 * at, seconds=at) for at in range(400)]
    rows = [(*row[:3], spell(stamp)) for row, stamp in zip(rows_of(), stamps, strict=True)]
    expected = np.array(stamps, dtype=f"datetime64[{unit}]").astype("datetime64[s]").astype(np.int64)
    times = load_dataset(write(tmp_path / "r.csv", list(rows))).ratings.times
    assert times is not None
    assert times.tolist() == expected.tolist()


def test_a_date_with_two_readings_is_refused_with_both(tmp_path: Path) -> None:
    rows = [(*row[:3], f"{at % 12 + 1:02}/03/2020") for at, row in enumerate(rows_of())]
    with pytest.raises(InputError, match=r"'01/03/2020' can be read as 2020-03-01 .* or 2020-01-03"):
        load_dataset(write(tmp_path / "r.csv", list(rows)))


def test_empty_times_are_shown_as_empty(tmp_path: Path) -> None:
    rows = rows_of()
    rows[4] = (*rows[4][:3], "")
    dataset = load_dataset(write(tmp_path / "r.csv", rows))
    assert dataset.quality.empty_times == 1
    assert dataset.quality.examples == ("line 6: the timestamp is empty",)


@pytest.mark.parametrize(("time", "note"), [(7, "all times are equal"), (None, "all times are in 1970")])
def test_times_that_mean_nothing_refuse_a_split_by_time(time: int | None, note: str, tmp_path: Path) -> None:
    rows = [(*row[:3], 1_500_000_000 if time else at + 1) for at, row in enumerate(rows_of())]
    dataset = load_dataset(write(tmp_path / "r.csv", list(rows)))
    assert any(note in text for text in dataset.quality.notes)
    for protocol in ("temporal", "future-holdout"):
        with pytest.raises(InputError, match=note):
            make_split(dataset, protocol, seed=0)
    make_split(dataset, "random,gate=off", seed=0)


# 6. Ratings


def test_decimal_commas_are_read(tmp_path: Path) -> None:
    rows = [(*row[:2], f"{row[2]},5", row[3]) for row in rows_of()]
    expected = [(*row[:2], int(str(row[2])) + 0.5, row[3]) for row in rows_of()]
    same_as(load_dataset(write(tmp_path / "r.csv", list(rows), mark=";")), list(expected))


@pytest.mark.parametrize("spelled", ["60%", "5 stars", "True", "four", "4/5", "1_0", "0x4", "٤"])
def test_other_spellings_are_refused_as_found(spelled: str, tmp_path: Path) -> None:
    rows = [(*row[:2], spelled, row[3]) for row in rows_of()]
    with pytest.raises(InputError) as refused:
        load_dataset(write(tmp_path / "r.csv", list(rows)))
    assert "line 2: does not parse: " in str(refused.value)
    assert f"rating={spelled!r}" in str(refused.value)
    assert "expected a number such as 4, 4.5 or 4,5" in str(refused.value)


def test_trailing_commas_are_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: 5 columns where 4 are expected: '1,1,1,1500000000,'"):
        load_dataset(write(tmp_path / "r.csv", [(*row, "") for row in rows_of()]))


@pytest.mark.parametrize("spelled", ["inf", "-inf", "nan", "1e400", "1e39", "Infinity"])
def test_infinite_ratings_are_bad_rows(spelled: str, tmp_path: Path) -> None:
    rows = rows_of()
    rows[5] = (*rows[5][:2], spelled, rows[5][3])
    dataset = load_dataset(write(tmp_path / "r.csv", rows))
    assert (dataset.quality.unparsable, len(dataset.ratings)) == (1, 399)
    assert f"line 7: does not parse: user='6', item='1', rating='{spelled}'" in dataset.quality.examples[0]


# 7. Headers


def test_without_a_header_the_advice_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "r.csv", rows_of(), header=None)
    assert main([source]) == 2
    assert "add --header none" in capsys.readouterr().out
    assert main([source, "--header", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 400
    same_as(load_dataset(source, header=False), rows_of())


# 8. Encodings and containers


def test_encodings_and_containers(tmp_path: Path) -> None:
    rows = [(f"josé{row[0]}", *row[1:]) for row in rows_of()]
    text = Path(write(tmp_path / "r.csv", list(rows))).read_text(encoding="utf-8")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("r.csv", text)
    contents = {
        "a.csv": text.encode("utf-16"),
        "b.csv": b"\xfe\xff" + text.encode("utf-16-be"),
        "c.csv": text.encode("utf-8-sig"),
        "d.csv": text.replace("\n", "\r\n").encode(),
        "e.csv": text.replace("\n", "\r").encode(),
        "f.csv.gz": gzip.compress(text.encode()),
        "g.csv.gz": gzip.compress(text.encode("utf-16")),
        "h.zip": archive.getvalue(),
        "i.txt": text.replace(",", "  ").encode(),
        "j.inter": text.replace(
            "user,item,rating,timestamp", "user_id:token,item_id:token,rating:float,timestamp:float"
        )
        .replace(",", "\t")
        .encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        same_as(load_dataset(str(tmp_path / name)), list(rows))


def test_broken_or_crowded_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"user,item,rating\n" * 1000)[:40])
    with pytest.raises(InputError, match=r"cut\.csv\.gz: not a whole archive"):
        load_dataset(str(tmp_path / "cut.csv.gz"))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        packed.writestr("a.csv", "x")
        packed.writestr("b.csv", "x")
    with pytest.raises(InputError, match=r"expected an archive of one table, got 2 files: a\.csv, b\.csv"):
        load_dataset(str(tmp_path / "two.zip"))


# 9. Rated twice


def test_pairs_rated_twice_at_any_share(tmp_path: Path) -> None:
    rows = rows_of()
    again = [(*row[:2], 5, int(str(row[3])) + 10) for row in rows[:100]]
    source = write(tmp_path / "r.csv", [*again, *rows])
    dataset = load_dataset(source)
    assert (dataset.quality.duplicate_pairs, len(dataset.ratings)) == (100, 400)
    assert dataset.ratings.values[:100].tolist() == [5.0] * 100  # the newest, though first in the file
    mean = load_dataset(source, duplicates="mean").ratings.values[:100]
    assert mean.tolist() == [(5 + int(str(row[2]))) / 2 for row in rows[:100]]
    with pytest.raises(InputError, match=r"line 102: this pair is rated again; 100 rows repeat"):
        load_dataset(source, duplicates="stop")


# 10. Messages


def test_one_rating_a_person_under_per_user(tmp_path: Path) -> None:
    rows = [(f"u{at}", *row[1:]) for at, row in enumerate(rows_of())]
    dataset = load_dataset(write(tmp_path / "r.csv", list(rows)))
    with pytest.raises(InputError, match=r"per-user: r has one rating a person"):
        make_split(dataset, "per-user", seed=0)


# The command


def test_the_command_reports_what_it_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of()
    rows[5] = (*rows[5][:2], "x", rows[5][3])
    source = write(tmp_path / "r.csv", rows)
    assert main(["--json", source, str(tmp_path / "none.csv")]) == 2
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    keys = "file refused rows kept left_out users items scale values times duplicates titles warnings".split()  # noqa: SIM905
    assert list(good) == list(bad) == keys
    assert good["rows"] == good["kept"] + sum(good["left_out"].values()) == 400
    assert good["left_out"] == {"unparsable": 1}
    assert good["scale"] == [1, 5]
    assert sum(good["values"].values()) == pytest.approx(1, abs=1e-4)
    assert good["times"] == {
        "first": "2017-07-14T02:40:00Z",
        "last": "2018-08-17T02:40:00Z",
        "unit": "seconds",
    }
    assert bad["refused"].endswith("none.csv: no such file or folder")
    assert main([source]) == 0
    text = capsys.readouterr().out
    for part in (
        "encoding: UTF-8",
        "separator: comma",
        "column for user: 'user' (column 1",
        "line 7: does not",
    ):
        assert part in text
    assert "scale 1 .. 5 (lowest and highest rating): 1 " in text


def test_options_reach_the_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(*row[:2], -1 if at % 4 == 0 else row[2], row[3]) for at, row in enumerate(rows_of())]
    source = write(tmp_path / "r.csv", list(rows))
    assert main(["--json", "--duplicates", "mean", "--missing", "-1", "99", source]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["left_out"] == {"missing_codes": 100}
    assert main([source, "--json", "--scale", "1:5"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == {"outside_scale": 100}
    assert main([source, "--scale", "5:1"]) == 2
