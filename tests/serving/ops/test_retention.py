"""Retention, export, erasure, backup and restore on a real event store."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from recsys.data.event_ratings import read_served
from recsys.data.ratings import RatingScale
from recsys.erasure_ledger import ledger_path, read_ledger
from recsys.errors import InputError
from recsys.pseudonyms import _kept_key
from serving.domain import Exposure, Feedback
from serving.events.repeated_erasure import repeat_erasures
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
    with pytest.raises(InputError, match="exists already"):
        backup(again, copy)


def test_a_backup_put_back_by_other_means_is_erased_from_at_the_next_start(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    copy = tmp_path / "copy.db"
    backup(store, copy)
    erase(store, "bob", now=100 * DAY)
    store.close()
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"events.db{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, tmp_path / "events.db")
    served = read_served(str(tmp_path / "events.db"), RatingScale(1, 5), now=200 * DAY)
    assert served.left_out == {"erased person": 10}  # no server was started yet
    again = EventStore(str(tmp_path / "events.db"))
    again.add(feedback=[Feedback("f99", None, "bob", "click", "1", None, 101 * DAY)])
    assert repeat_erasures(again) == {"exposures": 10, "feedback": 10, "overrides": 0}
    assert [row["event_id"] for row in export(again, "bob")] == ["f99"]  # bob came back
    assert len(list(export(again, "ann"))) == 20
    assert repeat_erasures(again) == {}
    (tmp_path / "events.db.key").unlink()
    _kept_key.cache_clear()
    with again.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM journal WHERE kind = 'erasure'")
    with pytest.raises(InputError, match="restore the key file of that time next to the store"):
        repeat_erasures(again)


def test_a_store_of_before_the_ledger_fills_it(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    erase(store, "bob", now=100 * DAY)
    kept = ledger_path(store.url).read_bytes()
    assert stat.S_IMODE(ledger_path(store.url).stat().st_mode) == 0o600
    ledger_path(store.url).unlink()
    repeat_erasures(store)
    assert ledger_path(store.url).read_bytes() == kept
    assert read_ledger("postgresql://anybody@elsewhere/events") == []


def test_a_damaged_backup_is_refused_and_the_store_stays(tmp_path: Path) -> None:
    store = filled(tmp_path / "events.db")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database at all" * 100)
    with pytest.raises(InputError, match="not an event store"):
        restore(store, broken)
    with pytest.raises(InputError, match="no backup at"):
        restore(store, tmp_path / "none.db")
    assert len(list(export(store, "ann"))) == 20
