from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text

from recsys.errors import InputError
from serving.catalogue.rule_set import RuleSet
from serving.events.engine import StoreGone
from serving.events.event_tables import FEEDBACK
from serving.events.item_log import ItemChange, save_items
from serving.events.rule_log import RuleRevision, save_rules
from serving.events.store import Conflict, EventStore
from serving.events.tester_overrides import erase_overrides
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


UNCHANGED = RuleRevision(0, RuleSet())
WRITES: list[Callable[[EventStore], object]] = [
    lambda store: store.add(exposures=[exposure("x1")]),
    lambda store: store.append("audit", "main", {}),
    lambda store: store.save_experiment(STATE, expected=1, actor="somebody"),
    lambda store: store.delete(FEEDBACK, FEEDBACK.c.seq >= 0),
    lambda store: erase_overrides(store, "nobody"),
    lambda store: save_items(store, [ItemChange("i1", {"title": "T"})], actor="somebody"),
    lambda store: save_rules(store, RuleSet(frozenset({"i1"})), before=UNCHANGED, actor="somebody"),
]


@pytest.mark.parametrize("write", WRITES)
def test_no_write_is_acknowledged_that_went_to_a_vanished_file(
    write: Callable[[EventStore], object], tmp_path: Path
) -> None:
    """Before it, and between its statements and its commit."""
    path = tmp_path / "events.db"
    store = EventStore(str(path))
    store.create_tables()
    store.save_experiment(STATE, expected=0, actor="first")
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreGone, match="moved or deleted"):
        write(store)
    (tmp_path / "elsewhere.db").rename(path)
    write(store)
    late = EventStore(str(path))

    def vanish(*_: object) -> None:
        if path.exists():
            path.rename(tmp_path / "gone.db")

    late.require_tables()
    event.listen(late.engine, "commit", vanish)
    with pytest.raises(StoreGone, match="moved or deleted"):
        late.append("audit", "main", {})


@pytest.mark.parametrize("url", ["oracle://host/name", "nonsense://", "mysql+x://user:secret@host/name"])
def test_an_unusable_url_says_what_would_do(url: str) -> None:
    with pytest.raises(InputError, match="give a file path, sqlite:///path, or postgresql") as error:
        EventStore(url)
    assert "secret" not in str(error.value)
