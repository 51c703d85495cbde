"""A roll-out on a real event store: it rises, goes back, survives its controller, and never fights."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from recsys.errors import InputError
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.events.store import EventStore
from serving.rollout.controller import RolloutController
from serving.rollout.policy import GuardrailReading, RolloutPlan, RolloutStep, decide_stage
from serving.rollout.rollout_status import rollout_status, start_rollout

PLAN = RolloutPlan(
    experiment="home",
    baseline="old",
    candidate="new",
    release="runs/new",
    hold_seconds=60,
    minimum_exposures=50,
)
CALM = GuardrailReading(exposures=500, slow=2, fallbacks=3, baseline_fallback_share=0.01, error_low=None)


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    made = EventStore(f"sqlite:///{tmp_path / 'events.db'}")
    made.create_tables()
    state = ExperimentState("home", 0, "salt", (ArmSpec("old", "runs/old", 1.0),))
    made.save_experiment(state, expected=0, actor="test", at=0.0)
    return made


def traffic(
    store: EventStore,
    at: float,
    *,
    arm: str = "new",
    count: int = 100,
    ms: float = 8.0,
    error: float = 0.7,
    users: int = 1000,
    shadow: bool = False,
) -> None:
    """Answers of one arm and the ratings that followed; two users in three differ between calls."""
    rng = random.Random(f"{at}{arm}")
    shown, done = [], []
    for number in range(count):
        user, name = f"{arm}{rng.randrange(users)}", f"{arm}-{at}-{number}"
        shown.append(
            Exposure(name, at, user, "home", arm, 1, "r", ("1", "2"), (4.0, 3.0), "personal", ms, shadow)
        )
        done.append(
            Feedback(f"f-{name}", name, user, "rating", "1", 4.0, at, 4.0 + rng.choice((-1, 1)) * error)
        )
    store.add(exposures=shown, feedback=done)


def test_a_quiet_rollout_rises_stage_by_stage_to_the_end() -> None:
    share, seen = 0.0, [0.0]
    while True:
        decision = decide_stage(PLAN, share, seconds=61, reading=CALM)
        if decision.step is RolloutStep.DONE:
            break
        assert decision.step is RolloutStep.RAISE
        share = decision.share
        seen.append(share)
    assert seen == [0.0, 0.01, 0.05, 0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (GuardrailReading(500, 40, 0, 0.0, None), "took over 50 ms"),
        (GuardrailReading(500, 0, 100, 0.02, None), "fallbacks"),
        (GuardrailReading(500, 0, 0, 0.0, 0.1), "squared error"),
    ],
)
def test_a_broken_guardrail_goes_back_at_once(reading: GuardrailReading, words: str) -> None:
    decision = decide_stage(PLAN, 0.25, seconds=1, reading=reading)
    assert decision.step is RolloutStep.BACK
    assert decision.share == 0.0
    assert words in decision.reason


def test_too_few_answers_too_short_or_holes_hold() -> None:
    assert decide_stage(PLAN, 0.05, seconds=10, reading=CALM).step is RolloutStep.HOLD
    assert (
        decide_stage(PLAN, 0.05, seconds=90, reading=GuardrailReading(20, 0, 0, 0.0, None)).step
        is RolloutStep.HOLD
    )
    assert (
        decide_stage(
            PLAN, 0.05, seconds=90, reading=GuardrailReading(500, 0, 0, 0.0, None, lost_events=1)
        ).step
        is RolloutStep.HOLD
    )


def test_a_rollout_on_the_store_reaches_everybody(store: EventStore) -> None:
    now = [100.0]
    messages: list[str] = []
    start_rollout(store, PLAN, now=now[0])
    for _ in range(20):
        state = store.experiment("home")
        assert state is not None
        now[0] += 61
        traffic(store, now[0] - 1, shadow=state.arms[1].shadow)
        # A new controller every tick: all it knows is in the store.
        if RolloutController(store, "home", notify=messages.append, clock=lambda: now[0]).tick() is None:
            break
    final = store.experiment("home")
    assert final is not None
    assert [(arm.name, arm.share) for arm in final.arms] == [("old", 0.0), ("new", 1.0)]
    assert final.owner == "manual"
    assert [line.split("->")[1].split("%")[0].strip() for line in messages] == [
        "1",
        "5",
        "25",
        "50",
        "100",
        "100",
    ]


def test_slow_answers_take_the_candidate_back_to_nothing(store: EventStore) -> None:
    now = [100.0]
    messages: list[str] = []
    start_rollout(store, PLAN, now=now[0])
    controller = RolloutController(store, "home", notify=messages.append, clock=lambda: now[0])
    now[0] += 61
    traffic(store, now[0] - 1, shadow=True)
    assert controller.tick() is not None
    traffic(store, now[0] + 1, ms=90.0)
    now[0] += 3
    decision = controller.tick()
    assert decision is not None
    assert decision.step is RolloutStep.BACK
    state = store.experiment("home")
    assert state is not None
    assert {arm.name: arm.share for arm in state.arms} == {"old": 1.0, "new": 0.0}
    assert not any(arm.shadow for arm in state.arms)
    events = [entry.data["event"] for entry in store.journal(kind="rollout")]
    assert events == ["started", "raise", "roll back"]
    assert controller.tick() is None


def test_a_worse_model_goes_back_and_an_equal_one_does_not(store: EventStore) -> None:
    now = [0.0]
    for error, expected in ((0.7, RolloutStep.HOLD), (1.1, RolloutStep.BACK)):
        now[0] = 1000.0 if expected is RolloutStep.HOLD else 9000.0
        start_rollout(store, PLAN, now=now[0])
        for place in range(5):
            traffic(store, now[0] + place, arm="old", users=300)
            traffic(store, now[0] + place, arm="new", users=300, error=error)
        now[0] += 10
        decision = RolloutController(store, "home", notify=print, clock=lambda: now[0]).tick()
        assert decision is not None
        assert decision.step is expected
        if expected is RolloutStep.HOLD:
            state = store.experiment("home")
            assert state is not None
            back = ExperimentState("home", 0, "salt", (ArmSpec("old", "runs/old", 1.0),))
            store.save_experiment(back, expected=state.revision, actor="test", at=now[0])


def test_two_controllers_make_one_step(store: EventStore) -> None:
    now = [100.0]
    messages: list[str] = []
    start_rollout(store, PLAN, now=now[0])
    pair = [RolloutController(store, "home", notify=messages.append, clock=lambda: now[0]) for _ in range(2)]
    now[0] += 61
    traffic(store, now[0] - 1, shadow=True)
    statuses = rollout_status(store, "home")
    assert statuses is not None
    decision = pair[0].tick()
    assert decision is not None
    # The second one acts on what it read before the first stepped.
    assert not pair[1].act(statuses, decision)
    assert len(messages) == 1
    state = store.experiment("home")
    assert state is not None
    assert state.revision == statuses.state.revision + 1


def test_bad_starts_are_refused_in_words(store: EventStore) -> None:
    with pytest.raises(InputError, match=r"no experiment 'nowhere'.*home"):
        start_rollout(store, RolloutPlan("nowhere", "old", "new", "r"), now=1.0)
    with pytest.raises(InputError, match="no arm 'older'"):
        start_rollout(store, RolloutPlan("home", "older", "new", "r"), now=1.0)
    start_rollout(store, PLAN, now=1.0)
    with pytest.raises(InputError, match="under way"):
        start_rollout(store, PLAN, now=2.0)
    with pytest.raises(ValueError, match="stages must rise"):
        RolloutPlan("home", "old", "new", "r", stages=(0.5, 0.1, 1.0))
