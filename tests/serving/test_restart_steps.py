"""A kill at every step that writes: what was acknowledged stays, and nothing is half of a thing after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.erasure_ledger import read_ledger
from recsys.pseudonyms import _kept_key, pseudonym_key
from serving.catalogue.rule_set import RuleSet
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.events import spool
from serving.events.event_writer import EventWriter
from serving.events.item_log import ItemChange, item_history, save_items
from serving.events.repeated_erasure import repeat_erasures
from serving.events.retention import DAY, backup, erase, export, restore, retain
from serving.events.rows import exposure_row
from serving.events.rule_log import RuleRevision, newest_rules, save_rules
from serving.events.store import EventStore
from serving.rollout.controller import RolloutController
from serving.rollout.policy import RolloutDecision, RolloutStep
from serving.rollout.rollout_status import rollout_status, start_rollout
from tests.serving.failpoints import killed_at
from tests.serving.ops.test_rollout import PLAN

NOW = 1_800_000_000.0


def opened(path: Path) -> EventStore:
    """The store as the next start opens it."""
    store = EventStore(str(path))
    store.create_tables()
    repeat_erasures(store)
    return store


def made_store(path: Path) -> EventStore:
    store = EventStore(str(path))
    store.create_tables()
    state = ExperimentState("home", 0, "salt", (ArmSpec("old", "r", 1.0),), overrides={"ann": "old"})
    store.save_experiment(state, expected=0, actor="test", at=NOW - DAY)
    shown = [
        Exposure(
            f"{user}{day}", NOW - day * DAY, user, "home", "old", 1, "r", ("1",), (4.0,), "personal", 3.0
        )
        for day in range(6)
        for user in ("ann", "bob")
    ]
    rated = [Feedback(row.exposure_id, None, row.user_id, "rating", "1", 5.0, row.at, 4.0) for row in shown]
    store.add(exposures=shown, feedback=rated)
    pseudonym_key(store.url)
    return store


def state_of(store: EventStore) -> ExperimentState:
    state = store.experiment("home")
    assert state is not None
    return state


def change_shares(store: EventStore) -> None:
    arms = (ArmSpec("old", "r", 0.5), ArmSpec("new", "s", 0.5))
    store.save_experiment(replace(state_of(store), arms=arms), expected=1, actor="test")


def give_override(store: EventStore) -> None:
    state = replace(state_of(store), overrides={"ann": "old", "bob": "old"})
    store.save_experiment(state, expected=1, actor="test")


def begin_rollout(store: EventStore) -> None:
    start_rollout(store, PLAN, now=NOW)


def move_rollout(step: RolloutStep, share: float) -> Callable[[EventStore], None]:
    def move(store: EventStore) -> None:
        if rollout_status(store, "home") is None:
            start_rollout(store, PLAN, now=NOW)
        status = rollout_status(store, "home")
        assert status is not None
        controller = RolloutController(store, "home", notify=lambda _: None, clock=lambda: NOW + 60)
        controller.act(status, RolloutDecision(step, share, "by hand"))

    return move


def add_item(store: EventStore) -> None:
    save_items(store, [ItemChange("i1", {"title": "A"}), ItemChange("i2", {"title": "B"})], actor="test")


def change_rule(store: EventStore) -> None:
    save_rules(store, RuleSet(frozenset({"i1"})), before=RuleRevision(0, RuleSet()), actor="test")


def picture(store: EventStore) -> dict[str, Any]:
    """What is served and audited."""
    rules = newest_rules(store)
    journal = [(row.kind, row.data.get("revision")) for row in store.journal()]
    return {
        "state": state_of(store),
        "audited": [revision for kind, revision in journal if kind == "audit"],
        "items": [len(item_history(store, name)) for name in ("i1", "i2")],
        "rules": None if rules is None else (rules.revision, rules.rules),
        "rules audited": [revision for kind, revision in journal if kind == "rules"],
        "catalogue": sum(kind == "catalogue" for kind, _ in journal),
    }


@pytest.mark.parametrize(
    "change",
    [
        change_shares,
        give_override,
        begin_rollout,
        move_rollout(RolloutStep.RAISE, 0.01),
        move_rollout(RolloutStep.DONE, 1.0),
        move_rollout(RolloutStep.BACK, 0.0),
        add_item,
        change_rule,
    ],
    ids=["shares", "override", "begin", "raise", "done", "back", "item", "rule"],
)
def test_a_change_is_there_whole_or_not_at_all(
    change: Callable[[EventStore], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(50):
        folder = tmp_path / str(step)
        folder.mkdir()
        store = made_store(folder / "events.db")
        if change not in (begin_rollout, change_shares, give_override, add_item, change_rule):
            begin_rollout(store)
        before = picture(store)
        with killed_at(step, monkeypatch) as made:
            change(store)
        store.close()
        again = opened(folder / "events.db")
        after = picture(again)
        assert after["audited"] == list(range(1, after["state"].revision + 1))
        if step == 0:
            assert after == before
        if made[-1:] == ["end"]:  # acknowledged
            assert after != before
            break
        if after != before:  # the whole change, its audit beside it, though nobody was told
            assert after["catalogue"] == (1 if change is add_item else 0)
            assert after["items"] == ([1, 1] if change is add_item else [0, 0])
        # The next controller goes on, and tells each step once.
        clock = NOW + 120.0
        RolloutController(again, "home", notify=lambda _: None, clock=lambda now=clock: now).tick()
        steps = [row.data.get("revision") for row in again.journal(kind="rollout") if "to" in row.data]
        assert len(steps) == len(set(steps))
        assert set(steps) <= set(picture(again)["audited"])
        if after == before:  # what was not done can be done
            change(again)
            assert picture(again) != before
        again.close()
    else:
        pytest.fail("the change never ended")


def test_an_erasure_that_is_cut_short_is_completed_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(100):
        folder = tmp_path / str(step)
        folder.mkdir()
        store = made_store(folder / "events.db")
        files = folder / "spool"
        files.mkdir()
        # Of a replica that was killed: lists from before the erasure, committed or not.
        lost = Exposure("ann9", NOW - 5, "ann", "home", "old", 1, "r", ("1",), (4.0,), "personal", 3.0)
        rows = [replace(lost), replace(lost, exposure_id="bob9", user_id="bob")]
        lines = [spool.frame(json.dumps(exposure_row(row)).encode()) for row in rows]
        (files / "dead.jsonl").write_bytes(b"".join(lines))
        with killed_at(step, monkeypatch) as made:
            erase(store, "ann", spool=files, now=NOW)
        store.close()
        begun = bool(read_ledger(str(folder / "events.db")))
        again = opened(folder / "events.db")
        EventWriter(again, folder=files).close()  # stores what the dead replica left
        rest = list(export(again, "ann"))
        assert rest == [] if begun else len(rest) == 14, (step, made)
        assert len(list(export(again, "bob"))) == 13
        assert bool(list(again.journal(kind="erasure"))) is begun
        assert ("ann" in state_of(again).overrides) is not begun
        again.close()
        if made[-1:] == ["end"]:
            assert begun
            return
    pytest.fail("the erasure never ended")


def test_retention_that_is_cut_short_is_completed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(50):
        folder = tmp_path / str(step)
        folder.mkdir()
        store = made_store(folder / "events.db")
        with killed_at(step, monkeypatch) as made:
            retain(store, days=2.5, now=NOW)
        store.close()
        again = opened(folder / "events.db")
        assert {row.at for row in again.feedback()} >= {NOW - day * DAY for day in range(3)}
        retain(again, days=2.5, now=NOW)
        assert {row.at for row in again.exposures()} == {NOW - day * DAY for day in range(3)}
        again.close()
        if made[-1:] == ["end"]:
            return
    pytest.fail("retention never ended")


def test_a_restore_that_is_cut_short_leaves_one_of_the_two_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(200):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / "events.db"
        store = made_store(path)
        backup(store, folder / "copy.db")
        store.add(feedback=[Feedback("later", None, "bob", "click", "1", None, NOW)])
        with killed_at(step, monkeypatch) as made:
            restore(store, folder / "copy.db")
        store.close()
        assert path.exists(), (step, made)
        again = opened(path)
        rows = len(list(export(again, "bob")))
        assert rows in ((12,) if made[-1:] == ["end"] else (12, 13)), (step, made)
        assert state_of(again).revision == 1
        again.close()
        if made[-1:] == ["end"]:
            return
    pytest.fail("the restore never ended")


def test_a_key_is_whole_or_missing_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(20):
        events = str(tmp_path / f"events{step}.db")
        with killed_at(step, monkeypatch) as made:
            first = pseudonym_key(events)
        _kept_key.cache_clear()
        again = pseudonym_key(events)
        _kept_key.cache_clear()
        assert pseudonym_key(events) == again
        if made[-1:] == ["end"]:
            assert again == first
            return
    pytest.fail("the key was never made")
