"""Since when an experiment has been the one that it is: what may be counted together.

Shares may change while people are counted (the stages of the sample-ratio test take care of it), but the arms
that take part in an interleaved experiment may not. Another release behind an arm, another share of
exploration, another set of arms or another salt is another experiment: what was seen of the one before says
nothing about it, and is left where it lies. So are other metrics: rules that were chosen with the outcomes
in sight must not be judged on those outcomes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from serving.domain import ExperimentState
from serving.events.event_tables import EXPERIMENTS
from serving.events.store import EventStore

EpochKey = tuple[str, str, str, tuple[str, ...], frozenset[tuple[str, str, float]]]


@dataclass(frozen=True)
class ExperimentEpoch:
    """``states`` are its revisions, oldest first; ``began`` is when the first was made, Unix seconds."""

    key: EpochKey
    states: tuple[ExperimentState, ...]
    began: float

    @property
    def first_revision(self) -> int:
        return self.states[0].revision


def epoch_key(state: ExperimentState) -> EpochKey:
    arms = frozenset((arm.name, arm.release, arm.explore) for arm in state.arms)
    metrics = json.dumps(state.metrics, sort_keys=True)
    return state.salt, metrics, state.kind, state.interleaved_arms, arms


def current_epoch(store: EventStore, state: ExperimentState) -> ExperimentEpoch:
    """The unbroken run of revisions up to ``state`` with its salt, arms and releases."""
    history = store.experiment_history(state.name, count=10_000)
    states = _same_epoch([past for past in history if past.revision <= state.revision], epoch_key(state))
    first = states[0].revision
    with store.engine.connect() as connection:
        at = connection.scalar(
            select(EXPERIMENTS.c.at).where(EXPERIMENTS.c.name == state.name, EXPERIMENTS.c.revision == first)
        )
    return ExperimentEpoch(epoch_key(state), states, float(at or 0.0))


def _same_epoch(newest_first: Sequence[ExperimentState], key: EpochKey) -> tuple[ExperimentState, ...]:
    states: list[ExperimentState] = []
    for past in newest_first:
        if epoch_key(past) != key:
            break
        states.append(past)
    return tuple(reversed(states))
