"""Made-up people, lists and ratings in a real event store: for the simulations, and never for a figure
about a real system. Whatever prints something that came from here says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from serving.assignment import Assigner
from serving.domain import ExperimentState, Exposure, Feedback

ITEMS = tuple(f"i{number}" for number in range(10))
ELSEWHERE = "i-not-shown"


@dataclass(frozen=True)
class Behaviour:
    """How an arm answers and what its users do: shares of slow answers (``slow_milliseconds`` instead of
    ``milliseconds``) and of fallbacks, the deviation of ratings from predictions in stars, the share of
    lists with a hit, and of lists that are followed by a rating at all."""

    slow: float = 0.002
    fallbacks: float = 0.01
    error: float = 0.9
    hit: float = 0.2
    rated: float = 0.5
    milliseconds: float = 8.0
    slow_milliseconds: float = 90.0


def answers(
    random: np.random.Generator,
    state: ExperimentState,
    users: Sequence[str],
    behaviours: Mapping[str, Behaviour],
    *,
    at: float,
    serial: str,
) -> tuple[list[Exposure], list[Feedback]]:
    """One list for each of ``users`` and what followed; shadow arms answer the same. ``serial`` makes ids
    unique. Of an interleaved list each arm has every other item, and a hit as often as alone."""
    assigner = Assigner(state)
    shadows = [arm.name for arm in state.arms if arm.shadow]
    exposures, feedback = [], []
    draws = random.random((len(users), 4))
    noise = random.normal(size=len(users))
    for index, user in enumerate(users):
        arm = assigner.assign(user).arm
        how = behaviours[arm]
        name = f"{serial}-{index}"
        slow, fallback, hit, rated = draws[index]
        exposures.append(_exposure(name, at, user, state, arm, how, slow, fallback))
        for shadow in shadows:
            unseen = behaviours[shadow]
            exposures.append(
                _exposure(f"{name}-{shadow}", at, user, state, shadow, unseen, slow, fallback, True)
            )
        if exposures[-1].teams:
            feedback += _credited(random, exposures[-1], behaviours, at=at)
        elif hit < how.hit or rated < how.rated:
            item = ITEMS[0] if hit < how.hit else ELSEWHERE
            stars = 3.5 + how.error * float(noise[index])
            feedback.append(Feedback(f"f-{name}", name, user, "rating", item, stars, at, 3.5))
    return exposures, feedback


def _credited(
    random: np.random.Generator, shown: Exposure, behaviours: Mapping[str, Behaviour], *, at: float
) -> list[Feedback]:
    """A click on the first item of each arm with a hit."""
    name, teams = shown.exposure_id, list(dict.fromkeys(shown.teams))
    hits = random.random(len(teams)) < [behaviours[arm].hit for arm in teams]
    return [
        Feedback(f"f-{name}-{arm}", name, shown.user_id, "click", ITEMS[index], None, at)
        for index, arm in enumerate(teams)
        if hits[index]
    ]


def _exposure(
    name: str,
    at: float,
    user: str,
    state: ExperimentState,
    arm: str,
    how: Behaviour,
    slow: float,
    fallback: float,
    shadow: bool = False,
) -> Exposure:
    return Exposure(
        exposure_id=name,
        at=at,
        user_id=user,
        experiment=state.name,
        arm=arm,
        revision=state.revision,
        release_id=arm,
        items=ITEMS,
        predicted=(),
        source="popular" if fallback < how.fallbacks else "personal",
        milliseconds=how.slow_milliseconds if slow < how.slow else how.milliseconds,
        shadow=shadow,
        teams=tuple(islice(cycle(state.interleaved_arms), len(ITEMS))) if not shadow else (),
    )
