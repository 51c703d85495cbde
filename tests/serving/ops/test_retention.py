"""Retention, export, erasure, backup and restore on a real event store."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import InputError
from serving.domain import Exposure, Feedback
from serving.events.retention import DAY, backup, erase, export, restore, retain
from serving.events.store import EventStore


def filled(path: Path) -> EventStore:
    store = EventStore(f"sqlite:///{path}")
    store.create_tables()
    for day in range(10):
        for user in ("ann", "bob"):
            name = f"{user}{day}"
            shown = Exposure(name, day * DAY, user, "home", "a", 1, "r", ("1",), (4.0,), "personal", 3.0)
            done = Feedback(f"f{name}", name, user, "rating", "1", 5.0, day * DAY, 4.0)
            store.add(exposures=[shown], feedback=[done])
    return store


def test_retention_deletes_what_is_older_and_says_so(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    assert retain(store, days=3.5, now=10 * DAY) == {"exposures": 14, "feedback": 14}
    assert {row.at for row in store.exposures()} == {7 * DAY, 8 * DAY, 9 * DAY}
    assert [row.data["days"] for row in store.journal(kind="retention")] == [3.5]
    with pytest.raises(InputError, match="positive number of days"):
        retain(store, days=0)


def test_one_user_is_exported_and_erased_and_nobody_else(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    rows = list(export(store, "ann"))
    assert len(rows) == 20
    assert {row["user_id"] for row in rows} == {"ann"}
    assert erase(store, "ann") == {"exposures": 10, "feedback": 10, "overrides": 0}
    assert list(export(store, "ann")) == []
    assert len(list(export(store, "bob"))) == 20
    journal = list(store.journal(kind="erasure"))
    assert len(journal) == 1
    assert "ann" not in journal[0].subject


def test_a_backup_of_a_live_store_is_restored_whole(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    copy = tmp_path / "copy.db"
    assert backup(store, copy) > 0
    erase(store, "bob")
    store.add(feedback=[Feedback("e99", None, "ann", "click", "i1", None, 99.0)])
    restore(store, copy)
    again = EventStore(f"sqlite:///{tmp_path / 'events.db'}")
    assert len(list(export(again, "ann"))) == 20
    assert list(export(again, "bob")) == []  # was erased since, and stays so
    assert len(list(again.journal(kind="erasure"))) == 1
    assert (tmp_path / "events.db.before-restore").exists()
    with pytest.raises(InputError, match="there already"):
        backup(again, copy)


def test_a_damaged_backup_is_refused_and_the_store_stays(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database at all" * 100)
    with pytest.raises(InputError, match="no event store"):
        restore(store, broken)
    with pytest.raises(InputError, match="no backup at"):
        restore(store, tmp_path / "none.db")
    assert len(list(export(store, "ann"))) == 20
