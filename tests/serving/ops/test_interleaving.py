"""Interleaved lists: the draft favours nobody, credit goes to who brought the item, the bets are valid."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from serving.domain import Exposure, Feedback
from serving.experiments.aggregates import Aggregates
from serving.experiments.betting import WEIGHTS, Z, bet_on_preference
from serving.experiments.experiment_metrics import EventRule, Metric
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import ArmComparison
from serving.experiments.preference import compare_preferences
from serving.experiments.team_draft import SHARED, team_draft
from serving.experiments.verdict import ExperimentDecision
from tests.serving.made_events import make_exposure, make_feedback

# Half of the items in both lists, at the top of one and at the end of the other: where only exclusive items
# are credited, people who click at random prefer "b".
UNEVEN = {"a": ["s1", "s2", "a1", "a2"], "b": ["b1", "b2", "s1", "s2"]}
THREE = {"a": ["1", "2", "3", "4"], "b": ["2", "1", "5", "6"], "c": ["2", "7", "8", "1"]}


@pytest.mark.parametrize("lists", [UNEVEN, THREE, {"a": list("abcdefg"), "b": list("gfedcba")}])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_who_converts_by_position_alone_prefers_no_arm(lists: dict[str, list[str]], count: int) -> None:
    draws, by_place = 4000, Counter[tuple[int, str]]()
    for number in range(draws):
        draft = team_draft(lists, count, seed=f"x{number}")
        assert len(set(draft.items)) == count
        by_place.update(enumerate(draft.teams))
    for index in range(count):
        credits = [by_place[index, arm] for arm in lists]
        assert max(credits) - min(credits) < 6 * draws**0.5


def test_the_same_exposure_draws_the_same_list_and_what_all_agree_on_is_nobodys() -> None:
    assert team_draft(UNEVEN, 4, seed="x") == team_draft(UNEVEN, 4, seed="x")
    same = team_draft({"a": ["1", "2", "3"], "b": ["1", "2", "3"]}, 3, seed="x")
    assert (same.items, same.teams, same.propensities) == (("1", "2", "3"), (SHARED,) * 3, (1.0,) * 3)
    short = team_draft({"a": ["1"], "b": ["2", "3", "4"]}, 4, seed="x")
    assert sorted(short.items) == ["1", "2", "3", "4"]
    assert short.teams[2:] == (SHARED, SHARED)  # "a" had nothing left to bring
    assert team_draft({"a": [], "b": ["2"]}, 3, seed="x").teams == (SHARED,)


def test_logged_propensities_are_the_frequencies_of_what_stands_where() -> None:
    draws, positions = 4000, Counter[tuple[int, str]]()
    logged: dict[tuple[int, str], float] = {}
    for number in range(draws):
        draft = team_draft(UNEVEN, 3, seed=f"x{number}")
        for cell, propensity in zip(enumerate(draft.items), draft.propensities, strict=True):
            positions[cell] += 1
            logged[cell] = propensity
    for cell, count in positions.items():
        assert abs(count - draws * logged[cell]) < 5 * draws**0.5
    assert team_draft(THREE, 3, seed="x").propensities == ()


def test_the_wealth_is_that_of_the_bets_written_out() -> None:
    signs = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 300, p=[0.2, 0.5, 0.3])
    wealth, best = np.ones(len(Z)), 0.0
    for sign in signs:
        wealth = wealth * (1 + np.minimum(0.25 * Z, 0.475) * sign)
        best = max(best, float(WEIGHTS @ wealth))
    result = bet_on_preference(signs)
    assert result.better == pytest.approx(np.log(best), rel=1e-9)
    assert result.estimate == pytest.approx(signs.mean())
    assert result.low < 0.1 < result.high


def test_without_a_preference_verdicts_are_rare_and_intervals_hold_it_at_every_length() -> None:
    random, false, outside = np.random.default_rng(2), 0, 0
    for _ in range(300):
        signs = random.choice([-1.0, 0.0, 1.0], 1500, p=[0.1, 0.8, 0.1])
        result = bet_on_preference(signs)
        false += result.ships or result.stops
        moved = random.choice([-1.0, 1.0], 400, p=[0.35, 0.65])
        outside += any(
            not result.low <= 0.3 <= result.high
            for result in (bet_on_preference(moved[:count]) for count in (50, 150, 400))
        )
    assert false <= 15  # alpha is 5%
    assert outside <= 15


CLICKS = Metric(
    "engagement", {"click": EventRule(), "purchase": EventRule(5.0), "rating": EventRule(1.0, 4.0)}
)


def tally_of(*, metrics: tuple[Metric, ...] = (CLICKS,)) -> Aggregates:
    return Aggregates(frozenset(("a", "b")), 100.0, metrics=metrics, interleaved=True)


def preference(aggregates: Aggregates, limits: Limits) -> ArmComparison:
    return compare_preferences(
        aggregates, control="a", treatment="b", metric="engagement", limits=limits, now=1e4
    )


def shown(
    number: int, *, user: str = "u", at: float = 1.0, teams: tuple[str, ...] = ("a", "b", "")
) -> Exposure:
    items = ("i", "j", "k")
    return make_exposure(f"x{number}", at, user, "a", 1, items, "personal", 1.0, False, teams)


def done(
    number: int, kind: str, item: str, on: Exposure, *, at: float = 2.0, value: float | None = None
) -> Feedback:
    return make_feedback(f"e{number}", on.exposure_id, on.user_id, kind, item, value, None, at)


def test_a_conversion_is_credited_once_to_who_brought_the_item_with_its_largest_weight() -> None:
    aggregates, listed = tally_of(), shown(0)
    aggregates.add_exposure(listed)
    events = [
        ("click", "i"),
        ("click", "i"),
        ("click", "j"),
        ("purchase", "j"),
        ("click", "k"),
        ("click", "no"),
    ]
    for number, (kind, item) in enumerate(events):
        aggregates.add_feedback(done(number, kind, item, listed), listed)
    aggregates.add_feedback(done(10, "rating", "i", listed, value=3.0), listed)
    assert aggregates.users["u"].credit == {("engagement", "a"): 1.0, ("engagement", "b"): 5.0}
    assert (aggregates.by_arm["a"].credited, aggregates.by_arm["b"].credited) == (1, 1)
    assert (aggregates.by_arm["a"].brought, aggregates.by_arm["b"].brought) == (1, 1)
    late = done(11, "purchase", "i", listed, at=500.0)
    aggregates.add_feedback(late, listed)
    assert aggregates.users["u"].credit["engagement", "a"] == 1.0


def test_a_list_that_was_not_interleaved_says_nothing_and_is_counted() -> None:
    aggregates, listed = tally_of(), shown(0, teams=())
    aggregates.add_exposure(listed)
    aggregates.add_feedback(done(1, "click", "i", listed), listed)
    result = preference(aggregates, Limits(primary="engagement"))
    assert aggregates.left_out == {"list that was not interleaved": 1}
    assert result.verdict.decision is ExperimentDecision.NOT_YET
    assert result.interval is None


@pytest.mark.parametrize(("chances", "decision"), [((0.05, 0.25), "ship"), ((0.25, 0.05), "stop")])
def test_a_planted_preference_is_found_both_ways(chances: tuple[float, float], decision: str) -> None:
    random, aggregates = np.random.default_rng(3), tally_of()
    for user in range(600):
        listed = shown(user, user=f"u{user}", at=float(user))
        aggregates.add_exposure(listed)
        for index, item in enumerate("ij"):
            if random.random() < chances[index]:
                aggregates.add_feedback(done(2 * user + index, "click", item, listed, at=user + 1.0), listed)
    result = preference(aggregates, Limits(primary="engagement"))
    assert result.verdict.decision.value == decision
    assert result.interval is not None
    assert result.preferences is not None
    expected = chances[1] * (1 - chances[0]) - chances[0] * (1 - chances[1])
    assert result.interval.low <= expected <= result.interval.high
    counts = result.preferences
    assert counts.treatment + counts.control + counts.ties == 600
    secondary = preference(aggregates, Limits())
    assert secondary.verdict.decision is ExperimentDecision.SECONDARY
