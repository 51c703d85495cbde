"""Parsed once, mapped from then on; whole or not there at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.data import loading
from recsys.data.cache import atomic_folder, cache_folder
from recsys.data.column_store import open_dataset, save_dataset
from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.errors import InputError
from tests.recsys.data.examples import made_dataset, table, write_csv_layout, write_u_layout


@pytest.fixture(autouse=True)
def _keep_small_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PARSE_AT_ONCE", 0)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("users", "items", "values", "times"):
        assert np.array_equal(getattr(one.ratings, name), getattr(other.ratings, name))
    assert one.ratings.scale == other.ratings.scale
    assert one.user_ids.tolist() == other.user_ids.tolist()
    assert one.catalogue.ids.tolist() == other.catalogue.ids.tolist()
    assert list(one.catalogue.titles) == list(other.catalogue.titles)
    assert list(one.catalogue.genres) == list(other.catalogue.genres)
    assert np.array_equal(one.item_features, other.item_features)  # type: ignore[arg-type]
    for name in ("name", "sha256", "licence", "source", "noise_floor", "quality"):
        assert getattr(one, name) == getattr(other, name)


def test_saved_and_opened_are_equal(tmp_path: Path) -> None:
    dataset = made_dataset()
    save_dataset(tmp_path / "kept-1", dataset)
    opened = open_dataset(tmp_path / "kept-1")
    assert opened is not None
    assert_same(dataset, opened)
    assert opened.user_features is None
    assert not opened.ratings.values.flags.writeable


def test_the_second_load_reads_columns_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_u_layout(tmp_path / "ml", table(half=False))
    first = load_dataset(str(folder), cache=tmp_path / "cache")
    monkeypatch.setattr(loading, "read_ratings", None)  # parsing again would fail
    second = load_dataset(str(folder), cache=tmp_path / "cache")
    assert_same(first, second)
    assert np.array_equal(first.user_features, second.user_features)  # type: ignore[arg-type]


def test_a_changed_source_is_parsed_anew_and_the_old_columns_go(tmp_path: Path) -> None:
    folder = write_csv_layout(tmp_path / "ml", table(300))
    load_dataset(str(folder), cache=tmp_path / "cache")
    write_csv_layout(tmp_path / "ml", table(301))
    assert len(load_dataset(str(folder), cache=tmp_path / "cache").ratings) == 301
    assert len(list((tmp_path / "cache" / "columns").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "text"])
def test_damaged_columns_are_made_again(damage: str, tmp_path: Path) -> None:
    folder = write_csv_layout(tmp_path / "ml", table(300))
    first = load_dataset(str(folder), cache=tmp_path / "cache")
    values = next((tmp_path / "cache").rglob("values.npy"))
    content = values.read_bytes()
    values.unlink()  # a new file: the old one is still mapped
    if damage == "cut":
        values.write_bytes(content[:200])
    if damage == "text":
        next((tmp_path / "cache").rglob("about.json")).write_text("{")
    assert_same(first, load_dataset(str(folder), cache=tmp_path / "cache"))


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_folder(tmp_path / "made") as work:
            (work / "half.bin").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_first_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "made") as slow:
        with atomic_folder(tmp_path / "made") as quick:
            (quick / "who").write_text("quick")
        (slow / "who").write_text("slow")
    assert (tmp_path / "made" / "who").read_text() == "quick"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    old, new = tmp_path / ".tmp-old", tmp_path / ".tmp-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (1, 1))
    with atomic_folder(tmp_path / "made"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-new", "made"]


def test_no_room_is_one_clear_line(tmp_path: Path) -> None:
    """A limit on file size fails as a full disk does: in the middle of a write."""
    folder = write_csv_layout(tmp_path / "ml", table(590))
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from recsys.data import loading\n"
        "from recsys.errors import InputError\n"
        "loading.PARSE_AT_ONCE = 0\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n"
        "    loading.load_dataset(sys.argv[1], cache=Path(sys.argv[2]))\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "cache")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot write to the cache: File too large" in ended.stdout
    assert "set RECSYS_CACHE to a folder on another disk" in ended.stdout
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.system
def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)], check=True)
    try:
        with pytest.raises(
            InputError, match=r"cannot write to the cache: No space left on device \(0 MB free there\)"
        ):
            load_dataset(str(write_csv_layout(tmp_path / "ml", table(5000, users=200))), cache=disk)
        assert [path for path in disk.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("RECSYS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "movielens-breakthrough"
