"""Work that waits for its turn in a ``MicroBatcher``: queries to a release, and other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from recsys.release.queries import Query, RecommendationList
from serving.engine.served_release import ServedRelease
from serving.engine.turn_budget import InlineRule, TurnBudget


class DeadlineExceeded(TimeoutError):
    """The answer was not there in time."""


@dataclass
class PendingQuery:
    """A query on its way. ``ends`` is when nobody waits for it any more (``perf_counter``)."""

    loaded: ServedRelease
    query: Query
    future: asyncio.Future[RecommendationList]
    ends: float

    @property
    def folds_in(self) -> bool:
        return self.query.history is not None


@dataclass
class PendingCall:
    """Any other work on a release; ``rule`` knows whether work of its kind is short."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]
    ends: float
    rule: InlineRule


class InlineTurn:
    """A turn on the event loop, in steps: folding in is most of a list's work, and others wait for the loop.

    ``began`` is by ``perf_counter``, ``worked`` the seconds of processor time so far."""

    def __init__(self, jobs: list[PendingQuery | PendingCall]) -> None:
        self.jobs, self.began, self.worked = jobs, perf_counter(), 0.0
        asks = [job for job in jobs if isinstance(job, PendingQuery) and job.folds_in]
        self._steps = (
            asks[0].loaded.recommender.fold_in_steps([ask.query for ask in asks]) if asks else iter(())
        )

    def fold_in(self) -> bool:
        """Goes on by one step; False where none is left, or it fails: the answer will say how."""
        try:
            return next(self._steps, self) is None
        except Exception:
            return False


def expired(job: PendingQuery | PendingCall, now: float, budgets: dict[bool, TurnBudget]) -> bool:
    """Whether a turn begun ``now`` would end after ``job`` has to."""
    if isinstance(job, PendingCall):
        return job.ends <= now
    return budgets[job.folds_in].too_late(job.ends, now)


def same_batch(first: PendingQuery | PendingCall, job: PendingQuery | PendingCall) -> bool:
    """Whether ``job`` may share the turn of ``first``."""
    if isinstance(first, PendingCall) or isinstance(job, PendingCall):
        return False
    return job.loaded is first.loaded and job.folds_in == first.folds_in
