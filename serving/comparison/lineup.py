"""Since when an experiment has been the one that it is: what may be counted together.

Shares may change while people are counted (the stages of the sample-ratio test take care of it). Another
release behind an arm, another set of arms or another salt is another experiment: what was seen of the one
before says nothing about it, and is left where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from serving.events.store import EventStore
from serving.events.tables import EXPERIMENTS
from serving.records import ExperimentState

LineupKey = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Lineup:
    """``states`` are its revisions, oldest first; ``began`` is when the first was made, Unix seconds."""

    key: LineupKey
    states: tuple[ExperimentState, ...]
    began: float

    @property
    def first_revision(self) -> int:
        return self.states[0].revision


def key_of(state: ExperimentState) -> LineupKey:
    return state.salt, frozenset((arm.name, arm.release) for arm in state.arms)


def current(store: EventStore, state: ExperimentState) -> Lineup:
    """The unbroken run of revisions up to ``state`` with its salt, arms and releases."""
    history = store.experiment_history(state.name, count=10_000)
    states = _run([past for past in history if past.revision <= state.revision], key_of(state))
    first = states[0].revision
    with store.engine.connect() as connection:
        at = connection.scalar(
            select(EXPERIMENTS.c.at).where(EXPERIMENTS.c.name == state.name, EXPERIMENTS.c.revision == first)
        )
    return Lineup(key_of(state), states, float(at or 0.0))


def _run(newest_first: Sequence[ExperimentState], key: LineupKey) -> tuple[ExperimentState, ...]:
    kept: list[ExperimentState] = []
    for past in newest_first:
        if key_of(past) != key:
            break
        kept.append(past)
    return tuple(reversed(kept))
