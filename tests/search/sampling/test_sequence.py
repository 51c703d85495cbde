"""The order of trials: formula, template, references, then the search with yardsticks spread over it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from search.config.plan import SearchPlan, make_plan
from search.sampling.trial_slots import trial_sequence


def test_formula_and_template_come_first() -> None:
    slots = trial_sequence(make_plan({"trials": 6, "baselines": ["bias"]}, {}))
    assert [slot.number for slot in slots] == list(range(len(slots)))
    assert [slot.origin for slot in slots[:4]] == ["formula", "template", "reference", "reference"]
    assert Counter(slot.origin for slot in slots)["search"] == 4


@given(
    trials=st.integers(2, 60),
    bias_share=st.floats(0.05, 5),
    baseline_trials=st.integers(1, 10),
    points=st.integers(0, 5),
)
def test_shares_and_counts_hold(trials: int, bias_share: float, baseline_trials: int, points: int) -> None:
    plan = SearchPlan(
        trials=trials,
        families={"hybrid_vae": 1.0, "bias": bias_share},
        baselines=("bias",),
        baseline_trials=baseline_trials,
    )
    slots = trial_sequence(plan, given=["hybrid_vae"] * points)
    searched = [slot for slot in slots if slot.origin in {"search", "start-from"}]
    assert len(searched) == trials - 2
    wanted = bias_share / (1 + bias_share) * (trials - 2)
    assert abs(sum(slot.family == "bias" for slot in searched) - wanted) <= 1
    assert sum(slot.origin == "baseline" for slot in slots) == baseline_trials
    started = [slot.number for slot in slots if slot.origin == "start-from"]
    subject = sum(slot.family == "hybrid_vae" for slot in searched)
    assert started == list(range(2, 2 + min(points, subject)))


def test_given_points_come_before_the_long_references() -> None:
    plan = make_plan({"trials": 12, "families": {"hybrid_vae": 3, "bayes_mf": 1}, "baselines": ["bias"]}, {})
    slots = trial_sequence(plan, given=["bayes_mf", "hybrid_vae", "hybrid_vae"])
    assert [slot.family for slot in slots[2:5]] == ["bayes_mf", "hybrid_vae", "hybrid_vae"]
    assert [slot.origin for slot in slots[2:7]] == ["start-from"] * 3 + ["reference"] * 2


def test_a_yardstick_gets_as_many_trials_as_the_subject() -> None:
    slots = trial_sequence(
        make_plan({"trials": 9, "baselines": ["bias"], "reference": {"enabled": False}}, {})
    )
    counts = Counter(slot.family for slot in slots)
    assert counts["bias"] == counts["hybrid_vae"] == 9
