"""Admission control: beyond a number of lists in flight a request is refused at once rather than late.

A queue in front of a single compute thread makes all requests late and computes for clients that have given
up. Lists of a batch call wait for their turn instead, use at most half of the slots and are timed one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LEAST_SHARE = 0.5  # of the deadline, that the expected time of a list and its queue may reach
BATCH_WAIT_SECONDS = 5.0  # without a turn for any of its lists, after which a batch call is refused


class Overloaded(RuntimeError):
    """Too many requests are in flight; try again in a moment."""

    def __init__(self) -> None:
        super().__init__("too many lists are being computed here at the moment; try again")


class BatchCall:
    """The lists of a batch call. Waiting for each other does not count as late, only for other work."""

    def __init__(self) -> None:
        self.turns = 0  # lists that have been admitted


class Admission:
    """Admits at most ``limit`` computed requests, and only those expected well before ``deadline`` seconds.
    For a single event loop.

    The time of a request in a queue of n is measured, whatever it waits for: a slow release, a busy machine,
    other work of the loop. A longer queue varies more, so a larger share of the deadline is reserved: a
    quarter for the third request, half from the fifth on."""

    def __init__(
        self,
        limit: int,
        *,
        deadline: float = float("inf"),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._limit = limit
        self._deadline, self._clock = deadline, clock
        self._seconds_each = 0.0  # moving average of the time of a position in the queue
        self._batch_limit = max(1, limit // 2)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def full(self) -> bool:
        """Whether a request that does not wait would be refused. Two are always admitted: the arms of an
        interleaved list request at the same time."""
        expected = (self.in_flight + 1) * self._seconds_each
        allowed = max(LEAST_SHARE, 1 - self.in_flight / 8) * self._deadline
        return self.in_flight >= self._limit or (self.in_flight > 1 and expected > allowed)

    @asynccontextmanager
    async def slot(self, *, batch: BatchCall | None = None, patient: bool = False) -> AsyncIterator[None]:
        """Holds one slot.

        Args:
            batch: The list's call; the list waits for a slot until its call has had none for
                ``BATCH_WAIT_SECONDS``. Without a call it is admitted at once or refused.
            patient: Admits it whatever the expected time, as its fallback would be worse than a late list.

        Raises:
            Overloaded: No slot is free.
        """
        if batch is not None:
            await self._turn(batch)
            batch.turns += 1
        elif self.in_flight >= self._limit or (self.full and not patient):
            raise Overloaded
        else:
            self.in_flight += 1
        began, queue = self._clock(), self.in_flight
        try:
            yield
        finally:
            spent = min(self._clock() - began, self._deadline)  # bounds the effect of a single stall
            self._seconds_each += 0.1 * (spent / queue - self._seconds_each)
            self.in_flight -= 1
            self._wake()

    async def _turn(self, batch: BatchCall) -> None:
        if self.in_flight < self._batch_limit and not self._waiting:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            while not turn.done():
                turns = batch.turns
                await asyncio.wait([turn], timeout=BATCH_WAIT_SECONDS)
                if not turn.done() and batch.turns == turns:
                    raise TimeoutError
        except (TimeoutError, asyncio.CancelledError) as error:
            if not turn.cancel():  # its turn came at the same moment, and _wake has counted it
                self.in_flight -= 1
                self._wake()
            if isinstance(error, TimeoutError):
                raise Overloaded from None
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self._batch_limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
