"""Computes lists in turns: on the event loop where they are short, else on a thread of their own.

A thread beside a busy event loop starves: numpy gives the interpreter lock back in every longer operation and
waits for it anew each time, so that a list of 1 ms takes 40. A short turn on the loop itself costs everybody
that millisecond and nothing else. Queries that are not known to be short, and all after one that was slow, go
to the thread, so that a slow release makes nobody late but those who ask it.

A turn takes whatever has come in since its last turn and answers queries to the same release together: one
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
from time import perf_counter, thread_time
from typing import Any

from recsys.release.queries import Query, RecommendationList
from serving.engine.batch_answers import recommend_or_fold_in
from serving.engine.pending_work import (
    DeadlineExceeded,
    InlineTurn,
    PendingCall,
    PendingQuery,
    expired,
    same_batch,
)
from serving.engine.served_release import ServedRelease
from serving.engine.turn_budget import MAX_BATCH, InlineRule, TurnBudget

BATCH_SECONDS = 0.016  # a turn of the thread
# A turn on the event loop, which others wait for; folded in (True) queries gain by company.
INLINE_TURN_SECONDS = {False: 0.004, True: 0.010}
LONGEST_SHARE_SECONDS = 0.02  # of turns on the event loop after each other
DEADLINE_MESSAGE = "the answer was not there in time"


Result = tuple[asyncio.Future[Any], Any, Exception | None]


class MicroBatcher:
    """``batches`` and ``batched`` count turns and the queries in them."""

    def __init__(self) -> None:
        self._waiting: deque[PendingQuery | PendingCall] = deque()
        self._wake = threading.Semaphore(0)
        self._closing = False
        self._busy_since: float | None = None
        # By kind: whether the queries are folded in.
        self._budgets = {
            False: TurnBudget(BATCH_SECONDS, 8, 0.004),
            True: TurnBudget(BATCH_SECONDS, 4, 0.010),
        }
        self._inline_budgets = {
            kind: TurnBudget(seconds, 2, 0.002) for kind, seconds in INLINE_TURN_SECONDS.items()
        }
        self._inline_rules = {kind: InlineRule() for kind in (False, True)}
        self._call_rules: dict[str, InlineRule] = {}
        self._inline_waiting: deque[PendingQuery | PendingCall] = deque()
        self._inline_scheduled = False
        self._inline_since: float | None = None
        self._inline_ended = perf_counter()
        self._inline_turn: InlineTurn | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that computes, the first to ask
        self.batches = 0
        self.batched = 0
        self._thread = threading.Thread(target=self._run, name="recommender", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        begun = 0 if self._inline_turn is None else len(self._inline_turn.jobs)
        return len(self._waiting) + len(self._inline_waiting) + begun

    def stuck_for(self) -> float:
        """Seconds that the present turn has taken, 0 between turns."""
        now = perf_counter()
        began = [since for since in (self._busy_since, self._inline_since) if since is not None]
        return now - min(began) if began else 0.0

    async def submit(self, loaded: ServedRelease, query: Query, *, seconds: float) -> RecommendationList:
        """The answer, or ``DeadlineExceeded``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecommendationList] = loop.create_future()
        job = PendingQuery(loaded, query, future, perf_counter() + seconds)
        self._loop = self._loop or loop
        inline = loop is self._loop and self._inline_rules[job.folds_in].allows()
        answer: RecommendationList = await self._wait(job, loop, seconds, inline=inline)
        return answer

    async def call(self, function: Callable[[], Any], *, seconds: float, kind: str = "") -> Any:
        """Other work than a list: its result, what it raises, or ``DeadlineExceeded``.

        Args:
            function: the work.
            seconds: to wait at most.
            kind: work of one kind costs about the same.
        """
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        rule = self._call_rules.setdefault(kind, InlineRule())
        job = PendingCall(function, loop.create_future(), perf_counter() + seconds, rule)
        return await self._wait(job, loop, seconds, inline=loop is self._loop and rule.allows())

    async def _wait(
        self,
        job: PendingQuery | PendingCall,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        *,
        inline: bool = False,
    ) -> Any:
        if inline:
            self._inline_waiting.append(job)
            self._schedule_inline(loop)
        else:
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

    # -- the event loop ----------------------------------------------------------------------------

    def _schedule_inline(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn after what the loop has ready now: who asked in the same moment shares it."""
        if not self._inline_scheduled:
            self._inline_scheduled = True
            loop.call_soon(self._run_inline, loop)

    def _run_inline(self, loop: asyncio.AbstractEventLoop) -> None:
        """A step of computing, and more while that takes no longer than the loop's other work has taken since
        the last one: beside hundreds of look-ups a single one a pass would leave every list late."""
        self._inline_scheduled = False
        began = perf_counter()
        ends = began + min(LONGEST_SHARE_SECONDS, began - self._inline_ended)
        while True:
            self._inline_step()
            more = self._inline_turn is not None or self._inline_waiting
            if not more or perf_counter() >= ends:
                break
        self._inline_ended = perf_counter()
        if more:
            self._schedule_inline(loop)

    def _inline_step(self) -> None:
        """Folds in by one member of the release, or answers; begins the next turn where none is under way."""
        if self._inline_turn is None:
            jobs, late = self._next_batch(self._inline_waiting, self._inline_budgets)
            _set_results(late)
            if not jobs:
                return
            self._inline_turn = InlineTurn(jobs)
        turn, done = self._inline_turn, []
        self._inline_since, worked = (began := perf_counter()), thread_time()
        if not turn.fold_in():
            self._inline_turn = None
            done = self._execute(turn.jobs, self._inline_budgets, turn)
        turn.worked += thread_time() - worked
        self._inline_since = None
        self._rule(turn.jobs[0]).record_turn(perf_counter() - began)
        _set_results(done)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            if self._closing:
                return
            jobs, late = self._next_batch(self._waiting, self._budgets)
            if self._waiting:
                self._wake.release()
            _deliver(late)
            if jobs:
                self._busy_since = perf_counter()
                done = self._execute(jobs, self._budgets)
                self._busy_since = None
                _deliver(done)

    def _next_batch(
        self, waiting: deque[PendingQuery | PendingCall], budgets: dict[bool, TurnBudget]
    ) -> tuple[list[PendingQuery | PendingCall], list[Result]]:
        """What belongs in one turn, and those for whom it is too late: the oldest job, and what waits of the
        same kind for the same release, wherever it stands: two arms take turns, not a turn for each change
        between them."""
        jobs: list[PendingQuery | PendingCall] = []
        others: list[PendingQuery | PendingCall] = []
        late: list[Result] = []
        now = perf_counter()
        most = MAX_BATCH
        for _ in range(len(waiting)):
            job = waiting.popleft()
            if expired(job, now, budgets):
                late.append((job.future, None, DeadlineExceeded(DEADLINE_MESSAGE)))
                continue
            if jobs and not same_batch(jobs[0], job):
                others.append(job)
                continue
            jobs.append(job)
            if isinstance(job, PendingQuery):
                most = budgets[job.folds_in].most
            if len(jobs) == most:
                break
        waiting.extendleft(reversed(others))  # in their order, before what came meanwhile
        return jobs, late

    def _rule(self, job: PendingQuery | PendingCall) -> InlineRule:
        return job.rule if isinstance(job, PendingCall) else self._inline_rules[job.folds_in]

    def _execute(
        self,
        jobs: list[PendingQuery | PendingCall],
        budgets: dict[bool, TurnBudget],
        turn: InlineTurn | None = None,
    ) -> list[Result]:
        """Results of a turn's ``jobs``; ``turn`` is the one that has folded in for them."""
        first = jobs[0]
        try:
            if isinstance(first, PendingCall):
                worked = thread_time()
                result = first.function()
                first.rule.record(thread_time() - worked)
                return [(first.future, result, None)]
            asks = [job for job in jobs if isinstance(job, PendingQuery) and not job.future.done()]
            if not asks:
                return []
            self.batches += 1
            self.batched += len(asks)
            began, worked = perf_counter(), thread_time()
            answers = recommend_or_fold_in(first.loaded, [ask.query for ask in asks])
            spent, worked = perf_counter() - began, thread_time() - worked
            if turn is None:
                budgets[first.folds_in].update(len(asks), spent)
            else:
                spent, worked = perf_counter() - turn.began, worked + turn.worked
                budgets[first.folds_in].update(len(asks), spent, worked=worked)
            # Processor time: beside a busy event loop a thread waits for the interpreter lock.
            self._inline_rules[first.folds_in].record(worked / len(asks))
            return [(ask.future, answer, None) for ask, answer in zip(asks, answers, strict=True)]
        except Exception as error:  # whatever a release raises, the thread goes on
            return [(job.future, None, error) for job in jobs]


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded(DEADLINE_MESSAGE))


def _deliver(done: list[Result]) -> None:
    """Hands results to their loops: one wake-up for all of a batch that share a loop."""
    if not done:
        return
    loop = done[0][0].get_loop()
    try:
        loop.call_soon_threadsafe(_set_results, done)
    except RuntimeError:
        return  # the loop has closed: nobody waits


def _set_results(done: list[Result]) -> None:
    for future, result, error in done:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
