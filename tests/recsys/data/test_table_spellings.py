"""Ratings, headers, encodings and repeated pairs as people export them, and the command that reports them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recsys.data.__main__ import main
from recsys.data.loading import load_dataset
from recsys.data.splits import make_split
from recsys.errors import InputError
from tests.recsys.data.exported_rows import assert_rows, rows_of, write_rows

# Ratings


def test_decimal_commas_are_read(tmp_path: Path) -> None:
    rows = [(*row[:2], f"{row[2]},5", row[3]) for row in rows_of()]
    expected = [(*row[:2], int(str(row[2])) + 0.5, row[3]) for row in rows_of()]
    assert_rows(load_dataset(write_rows(tmp_path / "r.csv", list(rows), mark=";")), list(expected))


@pytest.mark.parametrize("spelled", ["60%", "5 stars", "True", "four", "4/5", "1_0", "0x4", "٤"])
def test_other_spellings_are_refused_as_found(spelled: str, tmp_path: Path) -> None:
    rows = [(*row[:2], spelled, row[3]) for row in rows_of()]
    with pytest.raises(InputError) as refused:
        load_dataset(write_rows(tmp_path / "r.csv", list(rows)))
    assert "line 2: does not parse: " in str(refused.value)
    assert f"rating={spelled!r}" in str(refused.value)
    assert "expected a number such as 4, 4.5 or 4,5" in str(refused.value)


def test_trailing_commas_are_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: 5 columns where 4 are expected: '1,1,1,1500000000,'"):
        load_dataset(write_rows(tmp_path / "r.csv", [(*row, "") for row in rows_of()]))


@pytest.mark.parametrize("spelled", ["inf", "-inf", "nan", "1e400", "1e39", "Infinity"])
def test_infinite_ratings_are_bad_rows(spelled: str, tmp_path: Path) -> None:
    rows = rows_of()
    rows[5] = (*rows[5][:2], spelled, rows[5][3])
    dataset = load_dataset(write_rows(tmp_path / "r.csv", rows))
    assert (dataset.quality.unparsable, len(dataset.ratings)) == (1, 399)
    assert f"line 7: does not parse: user='6', item='1', rating='{spelled}'" in dataset.quality.examples[0]


# Headers


def test_without_a_header_the_advice_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "r.csv", rows_of(), header=None)
    assert main([source]) == 2
    assert "add --header none" in capsys.readouterr().out
    assert main([source, "--header", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 400
    assert_rows(load_dataset(source, header=False), rows_of())


# Encodings and containers


def test_encodings_and_containers(tmp_path: Path) -> None:
    rows = [(f"josé{row[0]}", *row[1:]) for row in rows_of()]
    text = Path(write_rows(tmp_path / "r.csv", list(rows))).read_text(encoding="utf-8")
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
        assert_rows(load_dataset(str(tmp_path / name)), list(rows))


def test_broken_or_crowded_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"user,item,rating\n" * 1000)[:40])
    with pytest.raises(InputError, match=r"cut\.csv\.gz: not a whole archive"):
        load_dataset(str(tmp_path / "cut.csv.gz"))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        packed.writestr("a.csv", "x")
        packed.writestr("b.csv", "x")
    with pytest.raises(InputError, match=r"expected an archive of one table, got 2 files: a\.csv, b\.csv"):
        load_dataset(str(tmp_path / "two.zip"))


# Rated twice


def test_pairs_rated_twice_at_any_share(tmp_path: Path) -> None:
    rows = rows_of()
    again = [(*row[:2], 5, int(str(row[3])) + 10) for row in rows[:100]]
    source = write_rows(tmp_path / "r.csv", [*again, *rows])
    dataset = load_dataset(source)
    assert (dataset.quality.duplicate_pairs, len(dataset.ratings)) == (100, 400)
    assert dataset.ratings.values[:100].tolist() == [5.0] * 100  # the newest, though first in the file
    mean = load_dataset(source, duplicates="mean").ratings.values[:100]
    assert mean.tolist() == [(5 + int(str(row[2]))) / 2 for row in rows[:100]]
    with pytest.raises(InputError, match=r"line 102: this pair is rated again; 100 rows repeat"):
        load_dataset(source, duplicates="stop")


# Messages


def test_one_rating_a_person_under_per_user(tmp_path: Path) -> None:
    rows = [(f"u{at}", *row[1:]) for at, row in enumerate(rows_of())]
    dataset = load_dataset(write_rows(tmp_path / "r.csv", list(rows)))
    with pytest.raises(InputError, match=r"per-user: r has one rating a person"):
        make_split(dataset, "per-user", seed=0)


# The command


def test_the_command_reports_what_it_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of()
    rows[5] = (*rows[5][:2], "x", rows[5][3])
    source = write_rows(tmp_path / "r.csv", rows)
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
    source = write_rows(tmp_path / "r.csv", list(rows))
    assert main(["--json", "--duplicates", "mean", "--missing", "-1", "99", source]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["left_out"] == {"missing_codes": 100}
    assert main([source, "--json", "--scale", "1:5"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == {"outside_scale": 100}
    assert main([source, "--scale", "5:1"]) == 2
