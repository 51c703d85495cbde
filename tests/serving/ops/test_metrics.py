"""What an experiment measures: weights, thresholds, lists seen, late events, and settings that name them."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.errors import InputError
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.experiments.aggregates import Aggregates
from serving.experiments.experiment_metrics import EventRule, Metric, seconds_of, words_of
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import compare, outcomes
from serving.settings import read_settings
from tests.serving.made_events import make_exposure, make_feedback

BOUGHT = Metric("worth", {"click": EventRule(1.0), "rating": EventRule(2.0, 4.0), "purchase": EventRule(5.0)})


def aggregates(*metrics: Metric, window: float = 100.0) -> Aggregates:
    return Aggregates(frozenset({"a", "b"}), window, metrics=metrics or (BOUGHT,))


def show(number: int, at: float, *, user: str = "u", arm: str = "a") -> Exposure:
    return make_exposure(f"x{number}", at, user, arm, 1, ("i", "j"), "personal", 1.0, False)


def act(number: int, shown: Exposure, kind: str, at: float, value: float | None = None) -> Feedback:
    predicted = None if value is None else 3.0
    return make_feedback(f"f{number}", shown.exposure_id, shown.user_id, kind, "i", value, predicted, at)


def worth(made: Aggregates, metric: Metric = BOUGHT) -> float:
    return float(outcomes([made.users["u"]], metric)[0])


def test_a_list_is_worth_its_largest_conversion_once() -> None:
    made, first, second = aggregates(), show(1, 0.0), show(2, 1.0)
    for shown in (first, second):
        made.add_exposure(shown)
    for number in range(50):
        made.add_feedback(act(number, first, "click", 2.0), first)
    assert worth(made) == pytest.approx(1 / 2)
    made.add_feedback(act(60, first, "rating", 3.0, 3.5), first)  # below 4: nothing
    made.add_feedback(act(61, second, "purchase", 3.0), second)
    made.add_feedback(act(62, second, "dislike", 3.0), second)
    assert worth(made) == pytest.approx((1 + 5) / 2)
    assert made.by_arm["a"].conversions == 2


def test_lists_count_as_served_or_as_seen() -> None:
    seen = Metric("seen", BOUGHT.events, "seen")
    made, lists = aggregates(BOUGHT, seen), [show(n, float(n)) for n in range(4)]
    for shown in lists:
        made.add_exposure(shown)
    made.add_feedback(act(0, lists[0], "impression", 5.0), lists[0])
    made.add_feedback(act(1, lists[1], "click", 5.0), lists[1])
    assert worth(made) == pytest.approx(1 / 4)
    assert worth(made, seen) == pytest.approx(1 / 2)


def test_a_liked_rating_follows_the_scale() -> None:
    rule = Metric().on_scale(1, 10).events["rating"]
    assert (rule.weight_of(7.5), rule.weight_of(8.0), rule.weight_of(None)) == (0.0, 1.0, 0.0)
    assert Metric().on_scale(1, 5).events["rating"].at_least == 4.0


def compared(made: Aggregates, metric: str, *, now: float = 1000.0) -> str:
    state = ExperimentState("main", 1, "s", (ArmSpec("a", "r", 0.5), ArmSpec("b", "r", 0.5)))
    result = compare(
        made, [state], control="a", treatment="b", metric=metric, limits=Limits(primary=metric), now=now
    )
    return result.verdict.words


def test_what_arrives_late_does_not_rewrite_a_counted_user() -> None:
    made, shown = aggregates(), show(1, 0.0)
    made.add_exposure(shown)
    made.add_feedback(act(1, shown, "click", 2.0), shown)
    compared(made, "worth")
    made.add_feedback(act(2, shown, "purchase", 3.0), shown)  # inside the window, stored after it was used
    made.add_exposure(show(2, 4.0))
    assert worth(made) == pytest.approx(1.0)
    assert made.left_out["late: the user's outcome was already fixed"] == 1
    assert made.left_out["list of a user already counted"] == 1


def test_arms_that_differ_in_who_rates_have_no_verdict_on_accuracy() -> None:
    made, random = aggregates(), np.random.default_rng(0)
    for number in range(1200):
        arm = "b" if random.random() < 0.5 else "a"
        shown = show(number, number / 100, user=f"u{number}", arm=arm)
        made.add_exposure(shown)
        if random.random() < (0.6 if arm == "b" else 0.3):
            made.add_feedback(act(number, shown, "rating", 20.0, 3.0 + random.normal()), shown)
    assert "the arms differ in who rates" in compared(made, "accuracy")


def test_settings_name_the_metrics_and_what_decides() -> None:
    rule = {"events": {"click": 1, "rating": {"at_least": 4}, "purchase": 5}, "exposures": "seen"}
    fields = {
        "experiment": {"metrics": {"primary": "worth", "worth": rule}},
        "operations": {"window_seconds": "36 hours"},
    }
    settings = read_settings(fields, where="here")
    made = settings.operations.as_settings(settings.experiment)
    assert (made.limits.primary, made.window_seconds) == ("worth", 129_600.0)
    (metric,) = made.metrics
    assert (metric.name, metric.exposures, metric.bound) == ("worth", "seen", 5.0)
    assert metric.events["rating"] == EventRule(1.0, 4.0)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"primary": "worth"}, "the primary metric 'worth' is none of"),
        ({"worth": {"events": {}}}, "at least 1"),
        ({"worth": {"events": {"Click!": 1}}}, "pattern"),
        ({"worth": {"events": {"click": -1}}}, "greater than or equal to 0.000001"),
        ({"worth": "click"}, "metrics need rules with events"),
    ],
)
def test_metrics_that_cannot_be_are_refused_in_a_line(metrics: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_settings({"experiment": {"metrics": metrics}}, where="here")


def test_spans_of_time_are_said_and_read_in_words() -> None:
    assert [words_of(seconds) for seconds in (86_400, 129_600, 5_400, 90)] == [
        "1 day",
        "36 hours",
        "90 minutes",
        "90 seconds",
    ]
    assert seconds_of("7 days") == 604_800
    with pytest.raises(ValueError, match="a time like 36 hours"):
        seconds_of("soon")
