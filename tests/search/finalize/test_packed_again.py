"""A release that is packed once more by a resumed run: the same one, or another."""

from __future__ import annotations

import shutil
from pathlib import Path

from recsys.release.load import load_release, read_manifest
from search.finalize.release_packer import reuse_identity
from tests.releases import make_release


def test_the_same_release_keeps_its_id_and_another_one_has_its_own(tmp_path: Path) -> None:
    first = make_release(tmp_path / "first", members=("bias",))
    later = read_manifest(first).model_copy(update={"created": "2030-01-01T00:00:00+00:00"})
    later = later.model_copy(update={"release_id": later.computed_id()})
    again = Path(shutil.copytree(first, tmp_path / "again"))
    (again / "manifest.json").write_text(later.model_dump_json())
    assert read_manifest(again).release_id != read_manifest(first).release_id
    reuse_identity(first, again)
    assert load_release(again).release_id == load_release(first).release_id

    other = make_release(tmp_path / "other", members=("bias",), rating_weight=0.5)
    own = read_manifest(other).release_id
    reuse_identity(first, other)
    assert load_release(other).release_id == own != read_manifest(first).release_id
    (first / "manifest.json").unlink()  # what an earlier session left cannot be read
    reuse_identity(first, other)
    assert load_release(other).release_id == own
