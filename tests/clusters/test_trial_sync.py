"""Trial files between nodes: whole folders, replaced at once, nothing carried where nothing needs to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusters import trial_sync
from clusters.trial_sync import FileKeeper, is_local, read_folder


def test_a_folder_comes_back_equal(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "member").mkdir(parents=True)
    (here / "member" / "arrays.bin").write_bytes(bytes(range(256)))
    (here / "result.json").write_text("{}")
    assert FileKeeper().write(str(there), read_folder(here), replace=True) == 2
    assert FileKeeper().get(str(there)) == read_folder(here)


def test_what_is_gone_here_goes_there_and_half_files_are_never_seen(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "old.bin").write_text("old")
    (tmp_path / ".result.json.part").write_text("half")
    FileKeeper().write(str(tmp_path), {"result.json": b"{}"}, replace=True)
    assert read_folder(tmp_path) == {"result.json": b"{}"}


def test_the_result_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = trial_sync.os.replace
    monkeypatch.setattr(trial_sync.os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b)))
    files = dict.fromkeys(("result.json", "a.bin", "valid.npy", "zz.json"), b"x")
    FileKeeper().write(str(tmp_path), files, replace=False)
    assert order[-1] == "result.json"
    assert len(order) == 4


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert FileKeeper().get(str(tmp_path / "none")) == {}


def test_on_a_shared_volume_nothing_is_carried(tmp_path: Path) -> None:
    (tmp_path / ".shared").touch()
    assert is_local(tmp_path / "run" / "trials" / "0001")
