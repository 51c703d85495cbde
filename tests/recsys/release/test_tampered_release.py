"""A release that was changed, cut off or crafted is refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import InputError
from recsys.release.load import load_release, read_manifest
from recsys.release.loaded_release import Release
from tests.recsys.release.signing import edit, forge


def test_every_file_is_hashed(folder: Path, release: Release) -> None:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - {"manifest.json"} == set(release.manifest.files)


def test_one_flipped_bit_in_any_file_is_refused(copy: Path) -> None:
    names = sorted(read_manifest(copy).files)
    assert len(names) > 15
    for name in names:
        path = copy / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match=f"{path.name} has sha256 .* was changed"):
            load_release(copy)
        path.write_bytes(whole)
    assert load_release(copy).manifest.complete


def test_a_file_cut_off_or_missing_is_refused(copy: Path) -> None:
    path = copy / "histories" / "items.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InputError, match=r"the manifest says .* changed or cut off"):
        load_release(copy)
    path.unlink()
    with pytest.raises(InputError, match="is missing from the release"):
        load_release(copy)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text["members"][0].update(weight=5.0), "release_id does not fit"),
        (lambda text: text.update(release_id="0" * 64), "release_id does not fit"),
        (lambda text: text.update(complete=False), "is unfinished"),
        (lambda text: text.update(schema_version=0), "schema_version 0, expected one of 1, 2, 3, 4, 5, 6, 7"),
        (
            lambda text: text.update(schema_version=99),
            "schema_version 99, this version reads up to 7: update",
        ),
        (lambda text: text.update(comment="hello"), "does not fit the schema at comment"),
        (lambda text: text["dataset"].pop("scale"), "does not fit the schema at dataset.scale"),
        (lambda text: text.update(members=[]), "does not fit the schema at members"),
    ],
)
def test_an_edited_manifest_is_refused(copy: Path, change: Callable[..., object], told: str) -> None:
    edit(copy, change)
    with pytest.raises(InputError, match=told):
        load_release(copy)


def test_a_forged_weight_is_found_by_the_golden_lists(copy: Path) -> None:
    edit(copy, lambda text: text["members"][0].update(weight=0.0), sign=True)
    with pytest.raises(InputError, match="when the release was made"):
        load_release(copy)


def test_a_path_out_of_the_folder_is_refused(copy: Path) -> None:
    edit(copy, lambda text: text["files"].update({"../escape.npy": {"sha256": "0", "bytes": 1}}), sign=True)
    with pytest.raises(InputError, match="expected a path inside the release"):
        load_release(copy)


def test_no_release_there_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"search/breakthrough\.py"):
        load_release(tmp_path / "nothing")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_release(tmp_path)
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(InputError, match="schema_version None"):
        load_release(tmp_path)


def test_deep_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not JSON"):
        load_release(tmp_path)


def test_links_and_files_that_the_manifest_does_not_name_are_refused(copy: Path, tmp_path: Path) -> None:
    file = copy / "items" / "titles.npy"
    moved = tmp_path / "titles.npy"
    file.rename(moved)
    file.symlink_to(moved)
    with pytest.raises(InputError, match=r"titles\.npy is a symbolic link"):
        load_release(copy)
    file.unlink()
    moved.rename(file)
    (copy / "items" / "more.npy").write_bytes(b"0")
    with pytest.raises(InputError, match=r"more\.npy is not in the release's manifest"):
        load_release(copy, verify=False)
    (copy / "items" / "more.npy").unlink()
    (copy / "users").rename(tmp_path / "users")
    (copy / "users").symlink_to(tmp_path / "users")
    with pytest.raises(InputError, match="users is a symbolic link"):
        load_release(copy)
    (copy / "users").unlink()
    (tmp_path / "users").rename(copy / "users")
    os.mkfifo(copy / "pipe")
    with pytest.raises(InputError, match="pipe is not a plain file"):
        load_release(copy)
    (copy / "pipe").unlink()
    (tmp_path / "current").symlink_to(copy)  # the folder itself may be reached by a link
    assert load_release(tmp_path / "current").manifest.complete


@pytest.mark.parametrize(
    "name", ["../x.npy", "/etc/passwd", "a//b", "./a", "a/../b", "a\\b", "a\0b", "a\nb", ""]
)
def test_a_name_that_leads_elsewhere_is_refused(copy: Path, name: str) -> None:
    forge(copy, lambda text: text["files"].update({name: {**text["files"]["items/titles.npy"]}}))
    with pytest.raises(InputError, match="expected a path inside the release"):
        load_release(copy)


def put(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=False)


CRAFTED: dict[str, tuple[Callable[[Path], object], Callable[[dict[str, Any]], object], str]] = {
    "member in another folder": (
        lambda folder: None,
        lambda text: text["members"][0].update(name="../../elsewhere"),
        r"does not fit the schema at members\.0\.name",
    ),
    "profile outside": (
        lambda folder: None,
        lambda text: text["reference_profile"]["arrays"].update(x="../../etc/passwd"),
        "is not among its files",
    ),
    "a weight without end": (
        lambda folder: None,
        lambda text: text["members"][0].update(weight=float("inf")),
        "does not fit the schema at members",
    ),
    "another number of items": (
        lambda folder: None,
        lambda text: text["dataset"].update(items=7),
        "the manifest says 7",
    ),
    "another number of users": (
        lambda folder: None,
        lambda text: text["dataset"].update(users=7),
        "the manifest says 7",
    ),
    "an unknown family": (
        lambda folder: None,
        lambda text: text["members"][0].update(family="oracle"),
        "does not know",
    ),
    "ranker without settings": (
        lambda folder: (folder / "ranker" / "ranker.json").write_text("{}"),
        lambda text: None,
        "do not fit together",
    ),
    "ranker that is not JSON": (
        lambda folder: (folder / "ranker" / "ranker.json").write_text("{"),
        lambda text: None,
        "do not fit together",
    ),
    "genres of another type": (
        lambda folder: (folder / "items" / "genres.json").write_text("7"),
        lambda text: None,
        "do not fit together",
    ),
    "an array that is none": (
        lambda folder: (folder / "items" / "vectors.npy").write_bytes(b"\x93NUMPY" + bytes(300)),
        lambda text: None,
        "do not fit together",
    ),
    "an array of objects": (
        lambda folder: np.save(folder / "items" / "vectors.npy", np.array([{}] * 9), allow_pickle=True),
        lambda text: None,
        "do not fit together",
    ),
    "histories that go backwards": (
        lambda folder: put(
            folder / "histories" / "ends.npy", np.load(folder / "histories" / "ends.npy")[::-1]
        ),
        lambda text: None,
        "ends do not fit",
    ),
    "histories of items that are not there": (
        lambda folder: put(
            folder / "histories" / "items.npy", np.load(folder / "histories" / "items.npy") + 1000
        ),
        lambda text: None,
        "histories name items",
    ),
    "golden list of nobody": (
        lambda folder: None,
        lambda text: text["golden_lists"][0].update(user=10_000),
        "user row 10000",
    ),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_release_raises_an_input_error(copy: Path, case: str) -> None:
    """Hashes and id fit: only what it says is wrong."""
    change, edited, message = CRAFTED[case]
    change(copy)
    forge(copy, edited)
    with pytest.raises(InputError, match=message):
        load_release(copy)
