"""The order of trials: formula, template, references, then the search with yardsticks spread over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import InputError
from search.config.plan import SearchPlan, make_plan
from search.sampling.trial_slots import TrialSlot, trial_sequence


def rating_slots(slots: Sequence[TrialSlot]) -> list[TrialSlot]:
    return [slot for slot in slots if slot.track == "rating"]


def test_list_trials_follow_the_starts_and_leave_the_rating_track_as_it_is() -> None:
    settings = {
        "trials": 6,
        "baselines": ["bias"],
        "list_families": {"als": 3, "spectral": 1},
        "list_trials": 9,
    }
    both = trial_sequence(make_plan(settings, {}), start_families=["hybrid_vae"])
    rating = trial_sequence(make_plan({**settings, "objective": "rating"}, {}), start_families=["hybrid_vae"])
    assert rating_slots(both) == list(rating)
    lists = [slot for slot in both if slot.track == "lists"]
    assert [slot.number for slot in lists] == list(range(len(rating), len(rating) + 9))
    starts = [("als", 0), ("spectral", 0), ("als", 1), ("als", 2), ("als", 3)]
    assert [(slot.family, slot.start) for slot in lists[:5]] == starts
    assert [slot.family for slot in lists[5:]] == ["als", "als", "spectral", "als"]
    assert list(both[3:8]) == lists[:5]
    assert list(both[-4:]) == lists[5:]


def test_list_trials_are_in_proportion_unless_the_plan_counts_them() -> None:
    assert make_plan({"trials": 16}, {}).list_trial_count == 24
    assert make_plan({"trials": 16, "list_trials": 5}, {}).list_trial_count == 5
    assert make_plan({"trials": 16, "objective": "rating"}, {}).list_trial_count == 0
    only = make_plan({"trials": 16, "objective": "lists"}, {})
    assert (only.trials, only.list_trial_count) == (2, 24)
    with pytest.raises(InputError, match="list_families: bias predicts stars"):
        make_plan({"list_families": {"bias": 1}}, {})


def test_formula_and_template_come_first() -> None:
    plan = make_plan({"trials": 6, "baselines": ["bias"], "objective": "rating"}, {})
    slots = trial_sequence(plan)
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
    slots = rating_slots(trial_sequence(plan, start_families=["hybrid_vae"] * points))
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
    slots = rating_slots(trial_sequence(plan, start_families=["bayes_mf", "hybrid_vae", "hybrid_vae"]))
    assert [slot.family for slot in slots[2:5]] == ["bayes_mf", "hybrid_vae", "hybrid_vae"]
    assert [slot.origin for slot in slots[2:7]] == ["start-from"] * 3 + ["reference"] * 2


def test_a_yardstick_gets_as_many_trials_as_the_subject() -> None:
    slots = trial_sequence(
        make_plan({"trials": 9, "baselines": ["bias"], "reference": {"enabled": False}}, {})
    )
    counts = Counter(slot.family for slot in slots)
    assert counts["bias"] == counts["hybrid_vae"] == 9
