from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from recsys.errors import InputError
from serving.events.engine import StoreGone
from serving.events.store import Conflict, EventStore
from tests.serving.events.checks import (
    STATE,
    check_catalogue,
    check_experiments,
    check_many,
    check_records,
    exposure,
    told,
)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    check_records(EventStore(str(tmp_path / "events.db")))


def test_many_rows_are_read_in_order(tmp_path: Path) -> None:
    check_many(EventStore(f"sqlite:///{tmp_path / 'events.db'}"))


def test_experiments_change_by_compare_and_set(tmp_path: Path) -> None:
    check_experiments(EventStore(str(tmp_path / "new" / "folder" / "events.db")))


def test_items_and_rules(tmp_path: Path) -> None:
    check_catalogue(EventStore(str(tmp_path / "events.db")))


def test_only_one_of_many_writers_wins_a_revision(tmp_path: Path) -> None:
    stores = [EventStore(str(tmp_path / "events.db")) for _ in range(6)]
    stores[0].create_tables()
    stores[0].save_experiment(STATE, expected=0, actor="first")
    won, lost = [], []

    def change(store: EventStore, name: str) -> None:
        try:
            won.append(store.save_experiment(STATE, expected=1, actor=name))
        except Conflict:
            lost.append(name)

    threads = [threading.Thread(target=change, args=(store, str(n))) for n, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)
    assert len(list(stores[0].journal(kind="audit"))) == 2


def test_sqlite_commits_reach_the_disk(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    with store.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2


def test_a_vanished_file_is_noticed_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = EventStore(str(path))
    store.create_tables()
    store.add(feedback=[told("e1")])
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreGone, match="moved or deleted"):
        store.add(feedback=[told("e2")])
    (tmp_path / "elsewhere.db").rename(path)
    assert store.add(exposures=[exposure("x1")], feedback=[told("e2")]) == {"e2"}
    assert len(list(store.feedback())) == 2


@pytest.mark.parametrize("url", ["oracle://host/name", "nonsense://", "mysql+x://user:secret@host/name"])
def test_an_unusable_url_says_what_would_do(url: str) -> None:
    with pytest.raises(InputError, match="give a file path, sqlite:///path, or postgresql") as error:
        EventStore(url)
    assert "secret" not in str(error.value)
