"""The spool: framed records survive torn writes, full disks and damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from serving.events import rows, spool
from serving.events.event_writer import EventWriter
from serving.events.store import EventStore
from serving.metric_snapshots import MARK, clear_metrics
from tests.serving.events.checks import exposure, spool_line, told
from tests.waiting import wait_for


def test_a_file_cut_at_every_byte_gives_the_whole_records_before_the_cut(tmp_path: Path) -> None:
    records = [spool_line({"n": n, "text": "é"}) for n in range(3)]
    whole = b"".join(records)
    ends = [sum(map(len, records[: n + 1])) for n in range(3)]
    path = tmp_path / "x.jsonl"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut] + b"\n" + spool_line({"n": "after"}))
        damage = spool.Damage()
        rows = [row["n"] for chunk in spool.read(path, damage) for row in chunk]
        # A record that lacks only its line end is whole: the next write's line end completes it.
        complete = sum(end - 1 <= cut for end in ends)
        assert rows == [*range(complete), "after"]
        assert damage.broken == (cut not in (0, *ends, *(end - 1 for end in ends)))


def test_a_damaged_byte_costs_its_record_only(tmp_path: Path) -> None:
    records = [spool_line({"n": n}) for n in range(3)]
    for index in range(len(records[1]) - 1):
        damaged = bytearray(records[1])
        damaged[index] ^= 0x41
        path = tmp_path / f"{index}.jsonl"
        path.write_bytes(records[0] + damaged + records[2])
        rows = [row["n"] for chunk in spool.read(path, spool.Damage()) for row in chunk]
        assert rows == [0, 2]


def test_a_short_write_is_taken_back(tmp_path: Path) -> None:
    own = spool.Spool(tmp_path)
    assert own.append(b'{"n": 0}')
    write = os.write
    with mock.patch("os.write", lambda file, data: write(file, data[:7])):
        assert not own.append(b'{"n": 1}')
        with mock.patch("os.ftruncate", side_effect=OSError(errno.EIO, "no")):
            assert not own.append(b'{"n": 2}')
    assert own.append(b'{"n": 3}')
    assert own.rotate()
    assert [row["n"] for chunk in own.older_rows() for row in chunk] == [0, 3]
    own.clear()
    own.close()


def test_a_damaged_abandoned_file_does_not_stop_the_writer(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "dead.jsonl").write_bytes(b"{half a li\nrubbish\n")
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=folder)
    assert writer.add_feedback([told("e1")]).result(timeout=120) == {"e1"}
    assert [entry.data["lost"] for entry in store.journal(kind="gap")] == [2]
    assert writer.lost == 2
    writer.close()
    assert (folder / "dead.broken").read_bytes() == b"{half a li\nrubbish\n"


def test_a_whole_record_that_is_no_exposure_does_not_stop_the_writer(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    good = rows.exposure_row(exposure("x1"))
    changes: list[dict[str, Any]] = [
        *({"items": ["1"]}, {"at": float("nan")}, {"revision": 2**70}, {"shadow": "no"}),
        *({"arm": None}, {"exposure_id": "\ud800"}),
    ]
    wrong = [{}, {"user_id": {}}, *(good | change for change in changes)]
    lines = [spool_line(row) for row in (*wrong, good)] + [b'{"of": "an older version"}\n']
    (folder / "dead.jsonl").write_bytes(b"".join(lines))
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=folder)
    assert writer.add_feedback([told("e1")]).result(timeout=120) == {"e1"}
    assert [row.exposure_id for row in store.exposures()] == ["x1"]
    assert writer.lost == len(wrong) + 1
    assert list(folder.glob("dead.jsonl")) == []
    writer.close()


def test_a_full_disk_under_the_spool_keeps_answers_going(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool", queue=5)
    writer.add_feedback([told("e1")]).result(timeout=120)
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("os.write", side_effect=full), mock.patch.object(store, "add_rows", side_effect=full):
        for n in range(8):
            writer.add_exposure(exposure(f"x{n}"))
        assert writer.lost == 3
        wait_for(lambda: not writer.available)
    wait_for(lambda: len(list(store.exposures())) == 5 and bool(list(store.journal(kind="gap"))))
    writer.close()


@pytest.mark.parametrize("marked", [True, False])
def test_only_our_own_counter_files_are_cleared(tmp_path: Path, marked: bool) -> None:
    for name in ("counter_12.db", "thesis.db", "notes.txt"):
        (tmp_path / name).write_text("")
    if marked:
        (tmp_path / MARK).touch()
    clear_metrics(tmp_path)
    assert (tmp_path / "counter_12.db").exists() is not marked
    assert (tmp_path / "thesis.db").exists()
    assert (tmp_path / "notes.txt").exists()


def test_the_spool_empties_under_a_load_that_never_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows keep waiting all the time; the files stay near their rotation size and no row is lost."""
    monkeypatch.setattr("serving.events.event_writer.ROTATE_BYTES", 20_000)
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool", flush_seconds=0.001)
    add_rows, most = store.add_rows, 0

    def add_while_more_come(exposures: Any, feedback: Any) -> set[str]:
        nonlocal most, number
        for _ in range(len(exposures) if number < 5_000 else 0):  # as many as are committed
            writer.add_exposure(exposure(f"x{number}"))
            number += 1
        most = max(most, writer._spool.size)
        return add_rows(exposures, feedback)

    number = 60
    with mock.patch.object(store, "add_rows", add_while_more_come):
        for n in range(number):
            writer.add_exposure(exposure(f"x{n}"))
        wait_for(lambda: number >= 5_000 and writer.waiting == 0)
    assert len(list(store.exposures())) == number
    assert most < 400_000  # all rows together have more than a million bytes
    assert writer.lost == 0
    writer.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_rows_of_the_file_alone_are_stored_while_more_come(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool", queue=10, flush_seconds=0.001)
    add_rows, number = store.add_rows, 0

    def add_while_more_come(exposures: Any, feedback: Any) -> set[str]:
        nonlocal number
        for _ in range(40 if number < 2_000 else 0):  # four times what the queue holds
            writer.add_exposure(exposure(f"x{number}"))
            number += 1
        return add_rows(exposures, feedback)

    with mock.patch.object(store, "add_rows", add_while_more_come):
        writer.add_feedback([told("start")]).result(timeout=120)
        wait_for(lambda: number >= 2_000 and writer.waiting == 0 and writer._spool.size == 0)
    assert {row.exposure_id for row in store.exposures()} == {f"x{n}" for n in range(number)}
    assert writer.lost == 0
    writer.close()
