"""A roll-out on a real event store: it rises, goes back, survives its controller, and never fights."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from recsys.errors import InputError
from serving.assignment import Assigner
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.events.store import EventStore
from serving.rollout.controller import RolloutController
from serving.rollout.policy import GuardrailReading, RolloutDecision, RolloutPlan, RolloutStep, decide_stage
from serving.rollout.rollout_status import rollout_status, start_rollout

PLAN = RolloutPlan(
    experiment="home",
    baseline="old",
    candidate="new",
    release="runs/new",
    hold_seconds=60,
    minimum_exposures=50,
)
CALM = GuardrailReading(exposures=500)


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
    seconds: float = 12.0,
    ms: float = 8.0,
    baseline_ms: float = 8.0,
    error: float = 0.7,
    fallbacks: float = 0.0,
    rate: int = 40,
    users: int = 4000,
) -> None:
    """``rate`` lists a second from ``at`` on by the experiment's own assignment, each followed by a rating.

    A candidate in shadow answers beside the other arm. ``ms``, ``error`` and ``fallbacks`` are its own."""
    state = store.experiment("home")
    assert state is not None
    rng = random.Random(f"{at}")
    assigner = Assigner(state)
    shadows = [arm.name for arm in state.arms if arm.shadow]
    shown, done = [], []
    for number in range(int(rate * seconds)):
        when, user = at + number / rate, f"u{rng.randrange(users)}"
        for arm in (assigner.assign(user).arm, *shadows):
            new = arm == "new"
            name = f"{arm}-{at}-{number}"
            shown.append(
                Exposure(
                    exposure_id=name,
                    at=when,
                    user_id=user,
                    experiment="home",
                    arm=arm,
                    revision=state.revision,
                    release_id="r",
                    items=("1", "2"),
                    predicted=(4.0, 3.0),
                    source="popular" if new and rng.random() < fallbacks else "personal",
                    milliseconds=ms if new else baseline_ms,
                    shadow=arm in shadows,
                )
            )
            if arm not in shadows:
                wrong = rng.choice((-1, 1)) * (error if new else 0.7)
                done.append(Feedback(f"f-{name}", name, user, "rating", "1", 4.0, when, 4.0 + wrong))
    store.add(exposures=shown, feedback=done)


def at_share(store: EventStore, share: float, *, now: float) -> RolloutController:
    """A controller of a roll-out whose candidate has ``share`` since ``now``."""
    start_rollout(store, PLAN, now=now)
    controller = RolloutController(store, "home", notify=lambda _: None, clock=lambda: now)
    status = rollout_status(store, "home")
    assert status is not None
    assert controller.act(status, RolloutDecision(RolloutStep.RAISE, share, "by hand"))
    return controller


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


def test_a_broken_guardrail_goes_back_at_once_and_a_limit_holds() -> None:
    broken = decide_stage(PLAN, 0.25, seconds=1, reading=GuardrailReading(500, broken="fallbacks"))
    assert (broken.step, broken.share, broken.reason) == (RolloutStep.BACK, 0.0, "fallbacks")
    over = decide_stage(PLAN, 0.25, seconds=90, reading=GuardrailReading(500, over_limit="p99 is 80 ms"))
    assert over.step is RolloutStep.HOLD
    assert "p99 is 80 ms: no step" in over.reason


def test_too_few_answers_too_short_or_holes_hold() -> None:
    assert decide_stage(PLAN, 0.05, seconds=10, reading=CALM).step is RolloutStep.HOLD
    assert decide_stage(PLAN, 0.05, seconds=90, reading=GuardrailReading(20)).step is RolloutStep.HOLD
    assert (
        decide_stage(PLAN, 0.05, seconds=90, reading=GuardrailReading(500, lost_events=1)).step
        is RolloutStep.HOLD
    )


def test_a_rollout_on_the_store_reaches_everybody(store: EventStore) -> None:
    now = [100.0]
    messages: list[str] = []
    start_rollout(store, PLAN, now=now[0])
    for _ in range(20):
        state = store.experiment("home")
        assert state is not None
        traffic(store, now[0], seconds=12.0, rate=200)
        now[0] += 61
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
    at_share(store, 0.25, now=now[0])
    traffic(store, now[0] + 1, ms=90.0)
    now[0] += 14
    messages: list[str] = []
    controller = RolloutController(store, "home", notify=messages.append, clock=lambda: now[0])
    decision = controller.tick()
    assert decision is not None
    assert decision.step is RolloutStep.BACK
    assert "share of slow answers is 1, the control's 0" in decision.reason
    state = store.experiment("home")
    assert state is not None
    assert {arm.name: arm.share for arm in state.arms} == {"old": 1.0, "new": 0.0}
    assert not any(arm.shadow for arm in state.arms)
    events = [entry.data["event"] for entry in store.journal(kind="rollout")]
    assert events == ["started", "raise", "roll back"]
    assert controller.tick() is None


def decision_after(store: EventStore, share: float, **how: float) -> RolloutDecision:
    """What a controller decides 20 seconds into a stage."""
    at_share(store, share, now=100.0)
    traffic(store, 101.0, **how)  # type: ignore[arg-type]
    made = RolloutController(store, "home", notify=print, clock=lambda: 120.0).tick()
    assert made is not None
    return made


def test_a_busy_machine_slows_both_arms_and_takes_nothing_back(store: EventStore) -> None:
    decision = decision_after(store, 0.25, ms=90.0, baseline_ms=90.0)
    assert decision.step is RolloutStep.HOLD


def test_fallbacks_take_the_candidate_back(store: EventStore) -> None:
    decision = decision_after(store, 0.25, fallbacks=0.5)
    assert decision.step is RolloutStep.BACK
    assert "fallback share" in decision.reason


def test_slow_shadow_answers_take_the_candidate_back_before_anybody_sees_it(store: EventStore) -> None:
    start_rollout(store, PLAN, now=100.0)
    traffic(store, 101.0, ms=90.0)
    decision = RolloutController(store, "home", notify=print, clock=lambda: 114.0).tick()
    assert decision is not None
    assert decision.step is RolloutStep.BACK
    assert "shadow answers took over 50 ms" in decision.reason


@pytest.mark.parametrize(("error", "expected"), [(0.7, RolloutStep.HOLD), (1.1, RolloutStep.BACK)])
def test_a_worse_model_goes_back_and_an_equal_one_does_not(
    store: EventStore, error: float, expected: RolloutStep
) -> None:
    decision = decision_after(store, 0.5, error=error, rate=80)
    assert decision.step is expected
    assert ("squared error" in decision.reason) == (expected is RolloutStep.BACK)


def test_two_controllers_make_one_step(store: EventStore) -> None:
    now = [100.0]
    messages: list[str] = []
    start_rollout(store, PLAN, now=now[0])
    pair = [RolloutController(store, "home", notify=messages.append, clock=lambda: now[0]) for _ in range(2)]
    traffic(store, now[0], seconds=5.0)
    now[0] += 61
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
