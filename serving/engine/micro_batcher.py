"""One thread that computes, so that the event loop never waits for numpy.

It takes whatever has come in since its last turn and answers queries to the same release together: one
matrix product for all of them (ML-32M's shape, busy machine: 2.0 ms of CPU a query in batches, 5.2 alone).
Nobody waits for company: alone, a query is a batch of one. A turn holds queries of one kind (folded in or
not, which cost very differently) and only as many as turns of their kind have lately done in
``TURN_SECONDS``: a long turn would make all of its queries late, not only the last. A query that could not
be answered in time any more is given back at once, so that a burst or a slow release cannot pile up work
that nobody waits for: what is computed is used, and who cannot be served is answered with something cheaper
without waiting for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from recsys.release.queries import Query, RecommendationList
from recsys.release.recommender import FAILURES
from serving.engine.served_release import ServedRelease

MAX_BATCH = 32
BATCH_SECONDS = 0.016
DEADLINE_MESSAGE = "the answer was not there in time"


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
    """Any other work of the same thread."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]
    ends: float


class MicroBatcher:
    """``batches`` and ``batched`` count turns and the queries in them."""

    def __init__(self) -> None:
        self._waiting: deque[PendingQuery | PendingCall] = deque()
        self._wake = threading.Semaphore(0)
        self._closing = False
        self._busy_since: float | None = None
        self._most = {False: 8, True: 4}  # queries of a kind in a turn
        self._takes = {False: 0.004, True: 0.010}  # seconds that a turn of a kind took lately
        self.batches = 0
        self.batched = 0
        self._thread = threading.Thread(target=self._run, name="recommender", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def stuck_for(self) -> float:
        """Seconds that the present turn has taken, 0 between turns."""
        since = self._busy_since
        return 0.0 if since is None else perf_counter() - since

    async def submit(self, loaded: ServedRelease, query: Query, *, seconds: float) -> RecommendationList:
        """The answer, or ``Late``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecommendationList] = loop.create_future()
        answer: RecommendationList = await self._wait(
            PendingQuery(loaded, query, future, perf_counter() + seconds), loop, seconds
        )
        return answer

    async def call(self, function: Callable[[], Any], *, seconds: float) -> Any:
        """Its result, what it raises, or ``Late``."""
        loop = asyncio.get_running_loop()
        return await self._wait(
            PendingCall(function, loop.create_future(), perf_counter() + seconds), loop, seconds
        )

    async def _wait(
        self, job: PendingQuery | PendingCall, loop: asyncio.AbstractEventLoop, seconds: float
    ) -> Any:
        self._waiting.append(job)
        self._wake.release()
        timer = loop.call_later(seconds, _expire, job.future)
        try:
            return await job.future
        finally:
            timer.cancel()

    def close(self) -> None:
        self._closing = True
        self._wake.release()
        self._thread.join(2.0)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            if self._closing:
                return
            jobs = self._next_batch()
            if jobs:
                self._busy_since = perf_counter()
                done = self._execute(jobs)
                self._busy_since = None
                _deliver(done)

    def _next_batch(self) -> list[PendingQuery | PendingCall]:
        """What belongs in one turn: the oldest job, and what waits of the same kind for the same release,
        wherever it stands: two arms take turns, not a turn for each change between them."""
        jobs: list[PendingQuery | PendingCall] = []
        others: list[PendingQuery | PendingCall] = []
        late: list[PendingQuery | PendingCall] = []
        now = perf_counter()
        most = MAX_BATCH
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            if self._expired(job, now):
                late.append(job)
                continue
            if jobs and not _same_batch(jobs[0], job):
                others.append(job)
                continue
            jobs.append(job)
            if isinstance(job, PendingQuery):
                most = self._most[job.folds_in]
            if len(jobs) == most:
                break
        if late:
            _deliver([(job.future, None, DeadlineExceeded(DEADLINE_MESSAGE)) for job in late])
        self._waiting.extendleft(reversed(others))  # in their order, before what came meanwhile
        if self._waiting:
            self._wake.release()
        return jobs

    def _expired(self, job: PendingQuery | PendingCall, now: float) -> bool:
        """Whether a turn begun ``now`` would end after ``job`` has to. Each time that its kind's turn keeps
        somebody out it is believed to be a little shorter, so that a long one shuts nobody out for good."""
        if isinstance(job, PendingCall):
            return job.ends <= now
        late = job.ends <= now + self._takes[job.folds_in]
        if late:
            self._takes[job.folds_in] *= 0.95
        return late

    def _execute(
        self, jobs: list[PendingQuery | PendingCall]
    ) -> list[tuple[asyncio.Future[Any], Any, Exception | None]]:
        first = jobs[0]
        try:
            if isinstance(first, PendingCall):
                return [(first.future, first.function(), None)]
            asks = [job for job in jobs if isinstance(job, PendingQuery)]
            self.batches += 1
            self.batched += len(asks)
            began = perf_counter()
            answers = _recommend(first.loaded, [ask.query for ask in asks])
            self._update_cost(first.folds_in, len(asks), perf_counter() - began)
            return [(ask.future, answer, None) for ask, answer in zip(asks, answers, strict=True)]
        except Exception as error:  # whatever a release raises, the thread goes on
            return [(job.future, None, error) for job in jobs]

    def _update_cost(self, folds_in: bool, count: int, seconds: float) -> None:
        """A full turn that was short lets one more in; a long one leaves out what was too much. What a query
        costs alone says little: several together cost less each."""
        self._takes[folds_in] += 0.2 * (min(seconds, BATCH_SECONDS) - self._takes[folds_in])
        most = self._most[folds_in]
        if seconds > BATCH_SECONDS:
            self._most[folds_in] = max(1, min(most, int(count * BATCH_SECONDS / seconds)))
        elif count == most:
            self._most[folds_in] = min(MAX_BATCH, most + 1)


def _same_batch(first: PendingQuery | PendingCall, job: PendingQuery | PendingCall) -> bool:
    """Whether ``job`` may share the turn of ``first``."""
    if isinstance(first, PendingCall) or isinstance(job, PendingCall):
        return False
    return job.loaded is first.loaded and job.folds_in == first.folds_in


def _recommend(loaded: ServedRelease, queries: list[Query]) -> list[RecommendationList]:
    answers = loaded.recommender.recommend(queries, loaded.rules)
    for place, (query, answer) in enumerate(zip(queries, answers, strict=True)):
        if answer.fallback and query.user is not None:
            answers[place] = _folded_in(loaded, query, answer)
    return answers


def _folded_in(loaded: ServedRelease, query: Query, failed: RecommendationList) -> RecommendationList:
    """A known user whose own state failed, as somebody new with the same ratings."""
    person = loaded.recommender.person(query)
    history = person.history
    stranger = Query(
        user=None,
        history=type(history)(np.asarray(history.items), np.asarray(history.values)),
        count=query.count,
        exclude=query.exclude,
        allowed=query.allowed,
        include_seen=query.include_seen,
        explain=query.explain,
    )
    try:
        answer = loaded.recommender.recommend([stranger], loaded.rules)[0]
    except FAILURES:
        return failed
    if answer.fallback:
        return failed
    return RecommendationList(answer.recommendations, answer.source, answer.milliseconds, failed.fallback)


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded(DEADLINE_MESSAGE))


def _deliver(done: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    """Hands results to their loops: one wake-up for all of a batch that share a loop."""
    loop = done[0][0].get_loop()
    try:
        loop.call_soon_threadsafe(_set_results, done)
    except RuntimeError:
        return  # the loop has closed: nobody waits


def _set_results(done: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for future, result, error in done:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
