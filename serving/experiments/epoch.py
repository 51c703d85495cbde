"""Epochs of an experiment: the revisions whose events may be counted together.

Shares may change within an epoch (the sample-ratio test works by stage), but not the arms of an interleaved
experiment. Another release, share of exploration, set of arms or salt is another experiment, whose earlier
events do not count. So are other metrics: rules chosen with the outcomes in sight must not be judged on those
outcomes.
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
    """Consecutive revisions with one key, oldest first; ``began`` is the time of the first, Unix seconds."""

    key: EpochKey
    states: tuple[ExperimentState, ...]
    began: float

    @property
    def first_revision(self) -> int:
        return self.states[0].revision


def epoch_key(state: ExperimentState) -> EpochKey:
    """What must be equal in all revisions of an epoch."""
    arms = frozenset((arm.name, arm.release, arm.explore) for arm in state.arms)
    metrics = json.dumps(state.metrics, sort_keys=True)
    return state.salt, metrics, state.kind, state.interleaved_arms, arms


def current_epoch(store: EventStore, state: ExperimentState) -> ExperimentEpoch:
    """The epoch of ``state``."""
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
