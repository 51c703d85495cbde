from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from recsys.errors import InputError
from serving.assignment import SLOTS, Assigner, reallocate
from serving.domain import ArmSpec, ExperimentState

USERS = [f"user-{number}" for number in range(100_000)]


def state(*shares: float, salt: str = "salt", holdout: float = 0.0, **overrides: str) -> ExperimentState:
    arms = tuple(ArmSpec("abcdefgh"[n], "release", share) for n, share in enumerate(shares))
    return ExperimentState("main", 1, salt, arms, holdout=holdout, overrides=overrides)


def placed(experiment: ExperimentState) -> list[str]:
    assigner = Assigner(experiment)
    return [assigner.assign(user).arm for user in USERS]


def test_shares_are_what_they_should_be_over_100_000_users() -> None:
    shares = (0.5, 0.3, 0.15, 0.05)
    counts = Counter(placed(state(*shares)))
    result = [counts[name] for name in "abcd"]
    assert chisquare(result, np.array(shares) * len(USERS)).pvalue > 0.001


def test_two_experiments_are_independent() -> None:
    """Nobody's arm in one tells anything of their arm in the other."""
    pairs = Counter(zip(placed(state(0.5, 0.5, salt="x")), placed(state(0.5, 0.5, salt="y")), strict=True))
    assert chisquare(list(pairs.values())).pvalue > 0.001
    assert len(pairs) == 4


def test_ramping_90_10_to_80_20_moves_a_tenth_and_only_one_way() -> None:
    first = reallocate(state(0.9, 0.1), None)
    second = reallocate(state(0.8, 0.2), first)
    moves = Counter(zip(placed(first), placed(second), strict=True))
    assert set(moves) == {("a", "a"), ("a", "b"), ("b", "b")}
    expected = np.array([0.8, 0.1, 0.1]) * len(USERS)
    result = [moves["a", "a"], moves["a", "b"], moves["b", "b"]]
    assert chisquare(result, expected).pvalue > 0.001


def test_ramping_up_and_back_brings_everybody_home() -> None:
    states = [reallocate(state(1.0, 0.0), None)]
    for share in (0.01, 0.05, 0.25, 0.5, 0.25, 0.05, 0.0):
        states.append(reallocate(state(1 - share, share), states[-1]))
    assert placed(states[0]) == placed(states[-1])
    assert placed(states[2]) == placed(states[6])


def test_the_same_in_another_process() -> None:
    program = (
        "from tests.serving.test_assignment import placed, state\n"
        "print(''.join(placed(state(0.4, 0.6)))[:2000])"
    )
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "".join(placed(state(0.4, 0.6)))[:2000]


def test_holdout_and_overrides() -> None:
    assigner = Assigner(state(0.2, 0.8, holdout=0.1, tester="a", other="b"))
    assert (assigner.assign("tester").arm, assigner.assign("tester").reason) == ("a", "override")
    completed = [assigner.assign(user) for user in USERS]
    held = [answer for answer in completed if answer.reason == "holdout"]
    assert {answer.arm for answer in held} == {"a"}
    assert chisquare([len(held), len(USERS) - len(held)], [10_000, 90_000]).pvalue > 0.001
    without = Assigner(state(0.2, 0.8))
    assert all(
        answer.arm == without.assign(user).arm
        for user, answer in zip(USERS, completed, strict=True)
        if answer.reason == "share"
    )


SHARES = st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(sum)


@given(st.lists(SHARES, min_size=2, max_size=6))
@settings(max_examples=300, deadline=None)
def test_as_few_slots_move_as_can_be(steps: list[list[int]]) -> None:
    """Any number of changes, arms coming and going: what moves is the sum of the growths, no more."""
    before: ExperimentState | None = None
    for step in steps:
        after = reallocate(state(*(part / sum(step) for part in step)), before)
        pieces = sorted(after.ranges, key=lambda piece: piece.start)
        assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces[:-1])]
        assert pieces[-1].end == SLOTS
        sizes = Counter[str]()
        for piece in pieces:
            sizes[piece.arm] += piece.end - piece.start
        for arm in after.arms:
            assert abs(sizes[arm.name] - arm.share * SLOTS) <= 1
        if before is not None:
            old = Counter[str]()
            for piece in before.ranges:
                old[piece.arm] += piece.end - piece.start
            assert _moved(before, after) == sum((sizes - old).values())
        before = after


def _moved(before: ExperimentState, after: ExperimentState) -> int:
    """Slots whose owner is another one."""
    edges = sorted({edge for piece in (*before.ranges, *after.ranges) for edge in (piece.start, piece.end)})

    def owner(experiment: ExperimentState, slot: int) -> str:
        return next(piece.arm for piece in experiment.ranges if piece.start <= slot < piece.end)

    return sum(
        end - start for start, end in itertools.pairwise(edges) if owner(before, start) != owner(after, start)
    )


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (state(), "different names"),
        (state(0.5, 0.4), "sum to 1"),
        (state(1.5, -0.5), "between 0 and 1"),
        (state(float("nan")), "between 0 and 1"),
        (state(1.0, holdout=1.5), "between 0 and 1"),
        (state(1.0, tester="z"), "not there"),
        (replace(state(1.0), arms=(ArmSpec("a", "r", 1.0, shadow=True),)), "never shown"),
    ],
)
def test_shares_that_cannot_be(broken: ExperimentState, says: str) -> None:
    with pytest.raises(InputError, match=says):
        reallocate(broken, None)
