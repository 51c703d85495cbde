"""Atomic files, JSON lines and locks, where writes fail and processes die in mid-write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.io import FileLock, append_line, atomic_path, iter_lines, read_lines, write_atomic


def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_atomic(tmp_path / "new folder" / "results.json", b"old")

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        half()
    assert list(tmp_path.iterdir()) == []


def test_a_line_cut_short_is_left_out_and_the_next_begins_afresh(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_lines(path) == []
    append_line(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "tex')  # killed here
    assert read_lines(path) == [{"n": 1}]
    append_line(path, {"n": 3, "text": "é"}, sync=False)
    assert read_lines(path) == [{"n": 1}, {"n": 3, "text": "é"}]
    rows = list(iter_lines(path))
    assert rows[-1][1] == path.stat().st_size
    assert list(iter_lines(path, rows[0][1])) == rows[1:]


def test_a_lock_is_one_process_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom recsys.io import FileLock\n"
        "print(FileLock(Path(sys.argv[1])).acquire())"
    )

    def elsewhere() -> str:
        command = [sys.executable, "-c", program, str(tmp_path / "folder" / ".lock")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    lock = FileLock(tmp_path / "folder" / ".lock")
    assert lock.acquire()
    assert elsewhere() == "False"
    lock.release()
    assert elsewhere() == "True"
    lock.release()  # nothing is held
