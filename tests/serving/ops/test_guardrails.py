"""Guardrails: not broken by bursts, busy machines or a heavy user, broken by a treatment that is worse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.experiments.aggregates import Aggregates
from serving.experiments.guardrails import Limits, alarms, guardrails, sign_evidence
from tests.serving.made_events import make_exposure

SHARES = {1: {"old": 0.5, "new": 0.5}}


def stream(
    seed: int,
    *,
    users: int = 1500,
    bursts: int = 0,
    only: str | None = None,
    slow_new: float = 0.0,
    narrow: bool = False,
    heavy: int = 0,
) -> Aggregates:
    """A list each from people over 25 minutes; ``bursts`` of 20 seconds in which answers are slow (in the arm
    ``only``, or in both); ``heavy`` more lists for one person of the new arm, all slow fallbacks."""
    random = np.random.default_rng(seed)
    aggregates = Aggregates(frozenset({"old", "new"}), 60.0)
    at = np.sort(random.random(users) * 1500)
    begins = random.random(bursts) * 1480
    for number in range(users):
        arm = "new" if random.random() < 0.5 else "old"
        burst = any(begin <= at[number] < begin + 20 for begin in begins) and only in (None, arm)
        slow = burst or (arm == "new" and random.random() < slow_new)
        items = tuple(f"i{n}" for n in random.integers(0, 20 if narrow and arm == "new" else 400, 10))
        milliseconds = 90.0 if slow else 8.0
        aggregates.add_exposure(
            make_exposure(
                f"x{number}", at[number], f"u{number}", arm, 1, items, "personal", milliseconds, False
            )
        )
    for number in range(heavy):
        when = float(number)
        aggregates.add_exposure(
            make_exposure(f"h{number}", when, "heavy", "new", 1, ("i0",), "popular", 90.0)
        )
    return aggregates


def broken(aggregates: Aggregates) -> list[str]:
    rails = guardrails(aggregates, SHARES, control="old", treatment="new", limits=Limits())
    return [rail.name for rail in rails if rail.broken]


@pytest.mark.parametrize(
    "how",
    [{}, {"bursts": 8}, {"bursts": 1, "only": "new"}, {"heavy": 600}],
    ids=["quiet", "bursts in both arms", "one burst in one arm", "one heavy user"],
)
def test_identical_arms_are_not_stopped(how: dict[str, object]) -> None:
    assert sum(bool(broken(stream(seed, **how))) for seed in range(12)) == 0  # type: ignore[arg-type]


def test_a_slow_treatment_and_a_narrow_one_are_stopped() -> None:
    assert broken(stream(0, slow_new=0.2)) == ["share of slow answers"]
    assert broken(stream(1, narrow=True)) == ["coverage lost"]


def test_a_busy_machine_is_an_alarm_of_its_own() -> None:
    aggregates = stream(2, bursts=40)
    assert broken(aggregates) == []
    assert [words.split(":")[0] for words in alarms(aggregates, ["old", "new"], Limits())] == ["old", "new"]
    assert alarms(stream(3), ["old", "new"], Limits()) == []


def test_the_sign_evidence_is_the_integral_and_seldom_large_by_chance() -> None:
    """Against a sum over q; and of 2,000 walks of 200 fair signs at most 5% ever reach 20 to 1."""
    q = np.linspace(0.5, 1.0, 100_001)
    by_hand = math.log(2**12 * 2 * np.trapezoid(q**9 * (1 - q) ** 3, q))
    assert sign_evidence(9, 12) == pytest.approx(by_hand, abs=1e-6)
    assert sign_evidence(0, 0) == pytest.approx(0.0)
    random = np.random.default_rng(4)
    wins = np.cumsum(random.random((400, 120)) < 0.5, axis=1)
    ever = [max(sign_evidence(int(row[n]), n + 1) for n in range(120)) >= math.log(20) for row in wins]
    assert sum(ever) <= 20
