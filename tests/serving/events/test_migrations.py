"""Stores of before are brought up, newer ones refused, and migrations make what event_tables.py says."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from recsys.errors import InputError
from serving.events.event_schema import HEAD, SCRIPTS, stored_version
from serving.events.event_tables import METADATA
from serving.events.rows import exposure_row
from serving.events.store import EventStore
from tests.serving.events.checks import STATE, exposure, told

# What the program of before versions were kept made, word for word (sqlite_master of a file it wrote).
UNVERSIONED = """
CREATE TABLE exposures (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, exposure_id TEXT NOT NULL, at DOUBLE NOT NULL,
    user_id TEXT NOT NULL, experiment TEXT NOT NULL, arm TEXT NOT NULL, revision INTEGER NOT NULL,
    release_id TEXT NOT NULL, items TEXT NOT NULL, predicted TEXT NOT NULL, source TEXT NOT NULL,
    milliseconds DOUBLE NOT NULL, shadow BOOLEAN NOT NULL, UNIQUE (exposure_id));
CREATE INDEX exposures_at ON exposures (at);
CREATE INDEX exposures_user ON exposures (user_id);
CREATE TABLE feedback (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, exposure_id TEXT,
    user_id TEXT NOT NULL, kind TEXT NOT NULL, item_id TEXT, value DOUBLE, at DOUBLE NOT NULL,
    predicted DOUBLE, UNIQUE (event_id));
CREATE INDEX feedback_at ON feedback (at);
CREATE INDEX feedback_exposure ON feedback (exposure_id);
CREATE INDEX feedback_user ON feedback (user_id);
CREATE TABLE experiments (
    name TEXT NOT NULL, revision INTEGER NOT NULL, at DOUBLE NOT NULL, actor TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (name, revision));
CREATE TABLE journal (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, at DOUBLE NOT NULL, kind TEXT NOT NULL,
    subject TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX journal_kind ON journal (kind, subject);
INSERT INTO exposures VALUES
    (7, 'x1', 1.0, '7', 'main', 'a', 3, 'r1', '["10", "\\u00e9"]', '[4.5, 3.25]', 'personal', 2.5, 0);
INSERT INTO feedback VALUES (4, 'e1', 'x1', '7', 'rating', '10', 4.0, 2.0, 4.5);
INSERT INTO experiments VALUES ('main', 1, 0.0, 'start', '{"name": "main", "revision": 1, "salt": "s",
    "arms": [{"name": "a", "release": "r", "share": 1.0, "shadow": false}], "owner": "manual", "holdout": 0.0,
    "overrides": {}, "ranges": [{"arm": "a", "start": 0, "end": 1000000}]}');
INSERT INTO journal VALUES (2, 0.0, 'audit', 'main', '{"actor": "start"}');
"""


@pytest.fixture
def unversioned(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(UNVERSIONED)
    connection.close()
    return path


def schema_differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        result: list[object] = compare_metadata(MigrationContext.configure(connection), METADATA)
    return result


def test_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    assert schema_differences(store.engine) == []
    with store.engine.connect() as connection:
        assert stored_version(connection) == HEAD
    assert sorted(path.name[1:5] for path in (SCRIPTS / "versions").glob("r*.py"))[-1] == HEAD


def test_a_store_of_before_is_brought_up_and_keeps_its_rows(unversioned: Path) -> None:
    store = EventStore(str(unversioned))
    store.create_tables()
    assert schema_differences(store.engine) == []
    assert list(store.exposures()) == [exposure("x1")]
    assert list(store.numbered_feedback()) == [(4, told("e1"))]
    state = store.experiment("main")
    assert state is not None
    assert state.arms[0].explore == 0.0
    logged = exposure("x2", propensities=(0.9, 0.05))
    store.add(exposures=[logged])
    assert list(store.exposures()) == [exposure("x1"), logged]
    assert store.save_experiment(STATE, expected=1, actor="test").revision == 2


def test_many_that_open_an_old_store_at_once_bring_it_up_once(unversioned: Path) -> None:
    failed: list[Exception] = []

    def open_store() -> None:
        try:
            EventStore(str(unversioned)).create_tables()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=open_store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert list(EventStore(str(unversioned)).exposures()) == [exposure("x1")]


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9000'")
        connection.exec_driver_sql("ALTER TABLE feedback ADD COLUMN mood TEXT")
    with pytest.raises(InputError, match=rf"schema 9000, this program supports up to {HEAD}: upgrade"):
        EventStore(str(tmp_path / "events.db")).create_tables()


def test_columns_that_are_added_break_no_writer_and_no_spool_of_another_version(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    with store.engine.begin() as connection:
        for table in ("exposures", "feedback", "journal", "experiments"):
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN mood TEXT")
    older = exposure_row(exposure("x1"))
    del older["propensities"]
    newer = exposure_row(exposure("x2", propensities=(1.0, 1.0))) | {"mood": "good"}
    store.add_rows([newer, older], [told("e1")])
    store.append("note", "main", {})
    store.save_experiment(STATE, expected=0, actor="test")
    assert [row.propensities for row in store.exposures()] == [(1.0, 1.0), ()]
    assert list(store.feedback()) == [told("e1")]
