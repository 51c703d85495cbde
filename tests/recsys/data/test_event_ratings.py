"""Served ratings merged with the data a run was trained on: what comes in, what stays out, counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.data.dataset import Dataset
from recsys.data.event_ratings import read_served
from recsys.data.event_store import EVENT_SCHEMA, split_source
from recsys.data.gate_slice import gate_mask
from recsys.data.merged_ratings import merge_served
from recsys.errors import InputError
from serving.events.event_schema import HEAD
from serving.events.retention import backup, erase, restore
from serving.events.store import EventStore
from tests.recsys.data.served_events import NOW, pairs, rated, shown


def test_the_newest_of_a_pair_stays_and_new_people_and_items_come_after(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    known = next(iter(pairs(base)))
    store.add(
        exposures=[shown("x1", "new", ("i1", "i2"))],
        feedback=[
            rated(1, known[0], known[1], 1.0, NOW - 100),
            rated(2, known[0], known[1], 5.0, NOW - 50),
            rated(3, "new", "i1", 4.0, NOW - 40, "x1"),
            rated(4, "new", "unheard-of", 2.0, NOW - 30, "x1"),
        ],
    )
    served = read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW)
    merged = merge_served(base, served)
    lineage = merged.lineage
    assert lineage is not None
    expected = {**pairs(base), known: 5.0, ("new", "i1"): 4.0, ("new", "unheard-of"): 2.0}
    assert pairs(merged) == expected
    assert list(merged.user_ids[: len(base.user_ids)]) == list(base.user_ids)
    assert lineage["served"] == 3
    assert lineage["from_our_lists"] == pytest.approx(1 / 3)  # i1 stood in the list, the other two did not
    assert lineage["new_users"] == lineage["new_items"] == 1
    assert lineage["left_out"] == {"rated again later": 2}
    assert lineage["watermark"] == 4
    assert lineage["base"] == base.sha256


def test_testers_sessions_erased_people_and_impossible_rows_stay_out_and_are_counted(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    gone = str(base.user_ids[base.ratings.users[0]])
    store.add(feedback=[rated(1, "anonymous-7", "i1", 4.0, NOW - 9), rated(2, "u1", "i1", 9.0, NOW - 8)])
    store.add(feedback=[rated(3, "u1", "i2", 4.0, NOW + 3600)])
    erase(store, gone, now=NOW - 7)
    store.add(feedback=[rated(4, gone, "i3", 4.0, NOW - 20), rated(5, gone, "i4", 2.0, NOW - 3)])
    served = read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW)
    assert served.left_out == {
        "anonymous session": 1,
        "outside the scale": 1,
        "time in the future": 1,
        "erased person": 1,
    }
    merged = merge_served(base, served)
    lineage = merged.lineage
    assert lineage is not None
    assert {pair: value for pair, value in pairs(merged).items() if pair[0] == gone} == {(gone, "i4"): 2.0}
    own = int((base.ratings.users == base.ratings.users[0]).sum())
    assert lineage["left_out"]["base ratings of erased people"] == own
    assert len(merged.ratings) == len(base.ratings) - own + 1


def test_each_rating_knows_with_which_propensity_our_list_held_its_item(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    ids = ("1", "11", ", ", 'q"', "\\", "é")  # as JSON text some stand within others
    lists = {"plain": ids[:3], "escaped": ids[3:]}
    for name, items in lists.items():
        logged = tuple(0.5 / 2**index for index in range(3))
        store.add(exposures=[replace(shown(name, "u", items), propensities=logged)])
        store.add(
            feedback=[
                rated(10 * index + len(name), f"{name}{index}", item, 4.0, NOW - 10, name)
                for index, item in enumerate(ids)
            ]
        )
    served = read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW).ratings
    expected = [0.5, 0.25, 0.125, *[np.nan] * 6, 0.5, 0.25, 0.125]
    np.testing.assert_array_equal(served.propensities, np.array(expected, np.float32))


def test_old_pairs_keep_their_place_in_the_gate(store: EventStore, base: Dataset, tmp_path: Path) -> None:
    store.add(feedback=[rated(n, f"new{n}", f"i{n}", 3.0, NOW - n) for n in range(1, 30)])
    merged = merge_served(base, read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW))
    np.testing.assert_array_equal(gate_mask(merged)[: len(base.ratings)], gate_mask(base))


def test_up_to_a_watermark_the_same_ratings_are_read_while_the_store_grows(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    store.add(feedback=[rated(n, "u1", f"i{n}", 3.0, NOW - n) for n in range(1, 6)])
    url = f"{tmp_path / 'events.db'}#3"
    first = read_served(url, base.ratings.scale, now=NOW)
    store.add(feedback=[rated(9, "u2", "i9", 3.0, NOW)])
    again = read_served(url, base.ratings.scale, now=NOW)
    assert first.ratings.item_ids == again.ratings.item_ids == ["i1", "i2", "i3"]
    assert first.watermark == again.watermark == 3
    assert merge_served(base, first).sha256 == merge_served(base, again).sha256
    assert len(read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW)) == 6


def test_merging_twice_changes_nothing(store: EventStore, base: Dataset, tmp_path: Path) -> None:
    store.add(feedback=[rated(n, f"u{n}", f"i{n}", 3.0, NOW - n) for n in range(1, 20)])
    served = read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW)
    first = merge_served(base, served)
    second = merge_served(first, served)
    assert pairs(first) == pairs(second)


def test_a_store_of_a_newer_schema_is_refused(store: EventStore, tmp_path: Path, base: Dataset) -> None:
    assert EVENT_SCHEMA == HEAD
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9000'")
    with pytest.raises(InputError, match="schema 9000, this program reads up to"):
        read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW)


def test_what_is_no_event_store_is_refused(tmp_path: Path, base: Dataset) -> None:
    with pytest.raises(InputError, match="no event store at"):
        read_served(str(tmp_path / "none.db"), base.ratings.scale)
    (tmp_path / "odd.db").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        read_served(str(tmp_path / "odd.db"), base.ratings.scale)
    with pytest.raises(InputError, match="expected a file"):
        read_served("mongodb://u:secret@h/db", base.ratings.scale)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("runs/a+runs/events.db", ("runs/a", "runs/events.db")),
        ("ml-100k", None),
        ("synthetic:users=5+5", None),
        ("runs/a+", None),
    ],
)
def test_the_two_parts_of_a_source(source: str, parts: tuple[str, str] | None) -> None:
    assert split_source(source) == parts


def test_a_person_erased_after_a_backup_stays_erased_when_it_is_restored(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    gone = str(base.user_ids[base.ratings.users[0]])
    store.add(feedback=[rated(1, gone, "i1", 4.0, NOW - 30), rated(2, "u2", "i1", 4.0, NOW - 30)])
    backup(store, tmp_path / "copy.db")
    erase(store, gone, now=NOW - 20)
    restore(store, tmp_path / "copy.db")
    again = EventStore(str(tmp_path / "events.db"))
    assert [event.user_id for event in again.feedback()] == ["u2"]
    served = read_served(str(tmp_path / "events.db"), base.ratings.scale, now=NOW)
    merged = merge_served(base, served)
    assert gone not in {user for user, _ in pairs(merged)}
