"""A release is opened whole and unchanged, of this schema or an older one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import InputError
from recsys.release import loaded_release
from recsys.release.load import load_release
from recsys.release.loaded_release import Release
from recsys.release.manifest import SCHEMA_VERSION
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from tests.recsys.release.signing import edit, forge
from tests.releases import make_dataset, make_release


def test_what_was_packed_is_what_opens(release: Release) -> None:
    manifest = release.manifest
    assert manifest.complete
    assert manifest.release_id == manifest.computed_id()
    assert [member.family for member in manifest.members] == ["bias", "mf"]
    assert sum(member.weight for member in manifest.members) == pytest.approx(1)
    assert len(manifest.golden_lists) >= 3
    assert release.users.row("u7") == 7
    assert release.items.titles[3] == "Film 3 (1953)"
    assert release.items.genres(3) == tuple(sorted(release.items.genres(3)))
    assert len(release.histories) == manifest.dataset.users
    assert release.profile() is not None


@pytest.mark.parametrize("schema", [1, 4, 6])
def test_a_release_of_an_older_schema_is_read_as_it_was_signed(tmp_path: Path, schema: int) -> None:
    """Neither the fields that came later nor their places in the hash."""

    def older(text: dict[str, Any]) -> None:
        text["schema_version"] = schema
        del text["rating_blend"]["intervals"]["scaled"]
        if schema <= 4:
            del text["dataset"]["lineage"], text["item_encoder"]
        if schema == 1:
            del text["rating_blend"]["correction"], text["rating_blend"]["intervals"]

    folder = make_release(tmp_path / "release", corrected=schema > 1)
    signed = forge(folder, older)
    release = load_release(folder)
    assert release.release_id == signed
    assert (release.correction is None) == (schema == 1)
    assert schema > 4 or release.manifest.dataset.lineage is None
    intervals = release.manifest.rating_blend.intervals
    assert (intervals is None) == (schema == 1)
    assert intervals is None or not intervals.scaled


def test_a_release_keeps_where_its_ratings_came_from(tmp_path: Path) -> None:
    lineage = {"base": "ab" * 32, "watermark": 17, "served": 3, "from_our_lists": 0.5}
    dataset = dataclasses.replace(make_dataset(), lineage=lineage)
    folder = make_release(tmp_path / "release", dataset=dataset)
    assert load_release(folder).manifest.dataset.lineage == lineage
    edit(folder, lambda text: text["dataset"]["lineage"].update(served=4))
    with pytest.raises(InputError, match="release_id does not fit"):
        load_release(folder)


def test_ids_are_found_and_strangers_are_not(release: Release) -> None:
    assert [release.users.row(name) for name in release.users.names] == list(range(len(release.users)))
    for stranger in ("", "u", "u999", "u7 ", "U7", "u7\0", "u" * 1000, "ü7"):
        assert release.users.row(stranger) is None


def test_a_large_release_is_mapped_not_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_release, "IN_MEMORY_BYTES", 0)
    release = load_release(folder)
    for array in (release.histories.items, release.items.vectors, release.ranker.arrays["factors"]):
        assert not array.flags.writeable
        base: object = array
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        assert not isinstance(base, np.ndarray)  # an mmap, or the file's own buffer


def test_answering_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys\n"
        "from recsys.release.queries import Query\n"
        "from recsys.release.load import load_release\n"
        "from recsys.release.recommender import Recommender\n"
        f"answer, = Recommender(load_release({str(folder)!r})).recommend([Query(user=1)])\n"
        "print(len(answer.recommendations), sorted({'torch', 'pandas', 'ray'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "10 []\n"


def test_a_file_cut_off_under_a_loaded_release_does_not_stop_it(copy: Path) -> None:
    """A mapped page beyond the end of its file would be a bus error, which ends the process."""
    recommender = Recommender(load_release(copy))
    before = recommender.recommend([Query(user=3)])[0].recommendations
    for path in copy.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    after = Recommender(recommender.release).recommend([Query(user=3)])[0].recommendations
    assert after == before


def test_a_release_says_its_schema(release: Release) -> None:
    assert release.manifest.schema_version == SCHEMA_VERSION
