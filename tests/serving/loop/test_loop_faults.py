"""The loop's steps where what they need is not as it should be: other data, a lost release or store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recsys.data.data_spec import DataSpec
from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentState, Feedback
from serving.events.store import EventStore
from serving.loop.arm_plan import ArmPlan, arms_json
from serving.loop.loop_decisions import Phase, decide
from serving.loop.loop_journal import LoopRecord, LoopState
from serving.loop.loop_settings import LoopSettings
from serving.loop.loop_steps import LoopSteps
from serving.settings import Settings
from tests.releases import make_release


@pytest.fixture
def made(tmp_path: Path) -> tuple[EventStore, LoopSteps, str]:
    """A store with an experiment, the loop's steps over it, and the release in service."""
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    release = str(make_release(tmp_path / "champion" / "release"))
    state = ExperimentState("main", 0, "salt", (ArmSpec("main", release, 1.0),))
    store.save_experiment(state, expected=0, actor="test")
    settings = LoopSettings(folder=str(tmp_path / "loop"))
    return store, LoopSteps(settings, Settings(events=store.url)), release


def test_data_that_cannot_be_used_end_the_cycle_and_a_store_that_is_away_does_not(
    made: tuple[EventStore, LoopSteps, str], tmp_path: Path
) -> None:
    store, steps, _ = made
    spec = DataSpec(data="synthetic:users=50,items=40,ratings=600")
    (tmp_path / "champion" / "run.json").write_text(json.dumps({"source": spec.to_json()}))
    strange = [Feedback(f"e{n}", None, "u", "rating", f"isbn-{n}", 4.0, 1e9 + n) for n in range(30)]
    store.add(feedback=strange)
    start: JsonObject = {"run": str(tmp_path / "champion"), "watermark": 30, "items_watermark": 0}
    state = LoopState(Phase.DATASET, 1, start=start)
    decision = decide(Phase.DATASET, steps.evidence(state, [], now=1.0, paused=None), LoopSettings())
    assert decision.next is Phase.IDLE
    assert "they are of another catalogue" in decision.reason
    gone = replace(state, start=start | {"run": str(tmp_path / "gone")})
    assert "holds no run" in steps.evidence(gone, [], now=1.0, paused=None)["refused"]
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"events.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(Exception, match="moved or deleted"):
        steps.evidence(state, [], now=1.0, paused=None)


def test_a_release_that_is_gone_takes_its_candidate_out(made: tuple[EventStore, LoopSteps, str]) -> None:
    store, steps, release = made
    serving = store.experiment("main")
    assert serving is not None
    start: JsonObject = {
        "experiment": "main", "arms": arms_json(serving), "baseline": "main", "share": 0.5, "kind": "split",
    }  # fmt: skip
    search = {"release": f"{release}-gone"}
    unsound = LoopState(Phase.GATE, 1, start=start | {"served_release": "aa"}, search=search)
    refused = steps.evidence(unsound, [], now=1.0, paused=None)
    assert decide(Phase.GATE, refused, LoopSettings()).next is Phase.IDLE
    state = LoopState(Phase.COMPARE, 1, 1.0, start=start, search=search)
    plan = ArmPlan.of(start, cycle=1, release=search["release"])
    store.save_experiment(replace(serving, arms=plan.shadow().specs), expected=serving.revision, actor="loop")
    seen = steps.evidence(state, [], now=2.0, paused=None)
    assert decide(Phase.COMPARE, seen, LoopSettings()).next is Phase.BACK
    steps.evidence(replace(state, phase=Phase.BACK, reason="gone"), [], now=3.0, paused=None)
    after = store.experiment("main")
    assert after is not None
    assert [arm.name for arm in after.arms] == ["main"]


def test_ratings_in_a_restored_store_are_new_though_their_numbers_are_lower(
    made: tuple[EventStore, LoopSteps, str],
) -> None:
    store, steps, _ = made
    rated = [Feedback(f"e{n}", None, "u", "rating", "i1", 4.0, 1e9 + n) for n in range(10)]
    store.add(feedback=rated)
    trigger = LoopRecord(
        1, 1e9 + 5.5, "decision", 1, Phase.IDLE, {"watermark": 500, "run": "champion"}, Phase.DATASET
    )
    seen = steps.evidence(LoopState(), [trigger], now=2e9, paused=None)
    assert (seen["new_ratings"], seen["watermark"]) == (4, 10)
    trigger.evidence["watermark"] = 10  # the same numbers without a restored backup
    assert steps.evidence(LoopState(), [trigger], now=2e9, paused=None)["new_ratings"] == 0
