"""Makers of records, and the checks that every kind of store must pass."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from serving.assignment import reallocate
from serving.catalogue.rule_set import RuleSet
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.events import spool
from serving.events.item_log import (
    ItemChange,
    ItemConflict,
    item_changes,
    item_history,
    newest_items,
    save_items,
)
from serving.events.rule_log import RuleConflict, RuleRevision, newest_rules, save_rules, stored_rules
from serving.events.store import Conflict, EventConflict, EventStore

STATE = ExperimentState(
    name="main",
    revision=0,
    salt="s",
    arms=(ArmSpec("a", "runs/a/release", 0.9), ArmSpec("b", "runs/b/release", 0.1)),
    overrides={"tester": "b"},
)


def exposure(name: str, at: float = 1.0, **changes: object) -> Exposure:
    made = Exposure(
        exposure_id=name,
        at=at,
        user_id="7",
        experiment="main",
        arm="a",
        revision=3,
        release_id="r1",
        items=("10", "é"),
        predicted=(4.5, 3.25),
        source="personal",
        milliseconds=2.5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def spool_line(row: dict[str, object]) -> bytes:
    """A record as a line of a spool file."""
    return spool.frame(json.dumps(row).encode())


def told(name: str, at: float = 2.0, **changes: object) -> Feedback:
    made = Feedback(name, "x1", "7", "rating", "10", 4.0, at, 4.5)
    return replace(made, **changes)  # type: ignore[arg-type]


def check_records(store: EventStore) -> None:
    store.create_tables()
    store.create_tables()
    first, second = exposure("x1"), exposure("x2", 5.0, experiment="other", shadow=True)
    assert store.add(exposures=[first, second], feedback=[told("e1")]) == {"e1"}
    assert store.add(exposures=[first], feedback=[told("e1"), told("e2", 3.0)]) == {"e2"}
    with pytest.raises(EventConflict, match="event_id e1:"):
        store.add(feedback=[told("e9"), told("e1", value=1.0)])
    assert list(store.exposures()) == [first, second]
    assert list(store.exposures(since=1.0, until=5.0)) == [first]
    assert list(store.exposures(experiment="other")) == [second]
    assert [row.value for row in store.feedback()] == [4.0, 4.0]
    numbered = list(store.numbered_feedback())
    assert list(store.feedback(after=numbered[0][0])) == [told("e2", 3.0)]
    lone = told("e3", exposure_id=None, kind="click", value=None, predicted=None, item_id="11")
    store.add(feedback=[lone])
    assert list(store.feedback(kind="click", user_id="7")) == [lone]


def check_many(store: EventStore) -> None:
    """More than a reader's chunk, in order and complete."""
    store.create_tables()
    total = 12_001
    for start in range(0, total, 3_000):
        store.add(exposures=[exposure(f"m{n}", n) for n in range(start, min(total, start + 3_000))])
    assert [row.at for row in store.exposures()] == list(range(total))


def check_experiments(store: EventStore) -> None:
    store.create_tables()
    saved = store.save_experiment(STATE, expected=0, actor="anna", reason="begin", at=1.0)
    assert saved == reallocate(replace(STATE, revision=1), None)
    ramped = replace(STATE, arms=(replace(STATE.arms[0], share=0.8), replace(STATE.arms[1], share=0.2)))
    ramped = store.save_experiment(ramped, expected=1, actor="ben", at=time.time())
    assert ramped == reallocate(ramped, saved)
    with pytest.raises(Conflict) as conflict:
        store.save_experiment(STATE, expected=1, actor="carl")
    assert conflict.value.current == ramped
    assert store.experiment("main") == ramped
    assert store.experiments() == [ramped]
    assert [state.revision for state in store.experiment_history("main")] == [2, 1]
    entries = list(store.journal(kind="audit", subject="main"))
    assert [entry.data["actor"] for entry in entries] == ["anna", "ben"]
    assert entries[1].data["before"]["arms"][0]["share"] == 0.9
    store.append("drift", "release r1", {"psi": 0.3}, at=9.0)
    assert [entry.data for entry in store.journal(since=9.0, until=9.5)] == [{"psi": 0.3}]


def check_catalogue(store: EventStore) -> None:
    store.create_tables()
    assert newest_items(store) == (0, [])
    first, second = save_items(
        store,
        [ItemChange("é", {"title": "A", "features": {"price": 1.5}}), ItemChange("b", {"hidden": True})],
        actor="ann",
        at=1.0,
    )
    assert (first.revision, first.title, second.hidden) == (1, "A", True)
    assert save_items(store, [ItemChange("é", {"title": "A"})], actor="bob") == [first]  # nothing changes
    (third,) = save_items(
        store, [ItemChange("é", {"genres": ("Drama",)}, expected=1)], actor="bob", reason="why", at=2.0
    )
    assert (third.revision, third.title, third.genres) == (2, "A", ("Drama",))
    with pytest.raises(ItemConflict, match="revision 2"):
        save_items(store, [ItemChange("c", {}), ItemChange("é", {}, expected=1)], actor="bob")
    numbered = list(item_changes(store))
    assert [item for _, item in numbered] == [first, second, third]
    assert newest_items(store) == (numbered[-1][0], [second, third])
    assert [item for _, item in item_changes(store, after=numbered[1][0])] == [third]
    newest, oldest = item_history(store, "é")
    assert (newest["actor"], newest["reason"], newest["before"]) == ("bob", "why", oldest["after"])
    assert oldest["before"] is None

    own = RuleRevision(0, RuleSet())
    assert newest_rules(store) is None
    saved = save_rules(store, RuleSet(frozenset("b"), {"é": 0.5}, 0.1), before=own, actor="ann", reason="r")
    assert newest_rules(store) == saved
    with pytest.raises(RuleConflict, match="revision 1"):
        save_rules(store, RuleSet(), before=own, actor="bob")
    again = save_rules(store, RuleSet(), before=saved, actor="bob")
    assert stored_rules(store) == [again, saved]
