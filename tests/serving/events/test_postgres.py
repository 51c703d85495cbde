"""The same store in a real PostgreSQL, which is taken away and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from recsys.data import event_rows
from recsys.data.event_ratings import read_served
from recsys.data.event_store import current_marks
from recsys.data.ratings import RatingScale
from serving.domain import Feedback
from serving.events.event_tables import METADATA
from serving.events.event_writer import EventWriter, StoreUnavailable
from serving.events.item_log import ItemChange, save_items
from serving.events.repeated_erasure import repeat_erasures
from serving.events.retention import erase
from serving.events.store import EventStore
from tests.serving.events.checks import (
    check_catalogue,
    check_experiments,
    check_many,
    check_records,
    exposure,
    told,
)
from tests.serving.postgres import Postgres, postgres
from tests.waiting import wait_for

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def store(server: Postgres) -> EventStore:
    made = EventStore(server.url)
    METADATA.drop_all(made.engine)
    with made.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
    return made


def test_records(store: EventStore) -> None:
    check_records(store)


def test_many(store: EventStore) -> None:
    check_many(store)


def test_experiments(store: EventStore) -> None:
    check_experiments(store)


def test_items_and_rules(store: EventStore) -> None:
    check_catalogue(store)


def test_feedback_is_committed_in_the_order_of_its_numbers(store: EventStore, server: Postgres) -> None:
    """A reader that polls by number while eight writers commit misses nothing."""
    store.create_tables()
    writers = [EventStore(server.url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        work = [
            pool.submit(lambda w=w, n=n: [w.add(feedback=[told(f"{n}-{i}")]) for i in range(60)])
            for n, w in enumerate(writers)
        ]
        seen, last = 0, 0
        while not all(done.done() for done in work) or seen < 480:
            for number, _ in store.numbered_feedback(after=last):
                seen, last = seen + 1, number
    assert seen == 480


def test_the_server_goes_away_and_comes_back(store: EventStore, server: Postgres, tmp_path: Path) -> None:
    writer = EventWriter(store, folder=tmp_path / "spool")
    writer.add_feedback([told("before")]).result(timeout=120)
    server.stop()
    with pytest.raises(StoreUnavailable):
        writer.add_feedback([told("during")]).result(timeout=120)
    for n in range(100):
        writer.add_exposure(exposure(f"x{n}"))
    server.start()
    wait_for(lambda: writer.available and len(list(store.exposures())) == 100)
    assert writer.add_feedback([told("after")]).result(timeout=120) == {"after"}
    assert {row.event_id for row in store.feedback()} == {"before", "after"}
    with store.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM exposures")) == 100
    writer.close()


def test_a_search_reads_events_and_items_from_it(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_rows, "CHUNK_ROWS", 7)
    store.create_tables()
    done = [Feedback(f"e{n}", None, f"u{n}", "rating", f"i{n}", 4.0, float(n)) for n in range(20)]
    store.add(feedback=[*done, Feedback("c1", None, "u1", "click", "i2", None, 21.0)])
    save_items(store, [ItemChange("n1", {"title": "New"})], actor="ann")
    marks = str(current_marks(store.url))
    store.add(feedback=[Feedback("later", None, "u1", "rating", "i9", 4.0, 22.0)])
    for _ in range(2):  # the second from the chunks of the first
        served = read_served(marks, RatingScale(1, 5), folder=tmp_path)
        assert served.ratings.item_ids == [f"i{n}" for n in range(20)]
        assert served.positives.item_ids == ["i2"]
        assert list(served.catalogue.items) == ["n1"]
    assert len(list(tmp_path.glob("*.npz"))) == 3


def test_a_restored_dump_is_erased_from_at_the_next_start(
    store: EventStore, server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the ledger of a database elsewhere lies in runs/
    store.create_tables()
    for user in ("ann", "bob"):
        store.add(feedback=[Feedback(f"e-{user}", None, user, "rating", "i1", 4.0, 1_700_000_000.0)])
    dump = tmp_path / "events.dump"
    server.run("pg_dump", "-Fc", "-d", server.url, "-f", str(dump))
    assert erase(store, "bob")["feedback"] == 1
    server.run("pg_restore", "--clean", "-d", server.url, str(dump))
    assert {row.user_id for row in store.feedback()} == {"ann", "bob"}
    served = read_served(server.url, RatingScale(0.5, 5.0))
    assert served.left_out == {"erased person": 1}
    assert repeat_erasures(store) == {"exposures": 0, "feedback": 1, "overrides": 0}
    assert {row.user_id for row in store.feedback()} == {"ann"}
    assert repeat_erasures(store) == {}
