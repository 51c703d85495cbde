"""How many lists may be computed at once: beyond it a request is refused at once rather than late.

A queue in front of one computing thread makes everybody late and computes for people who have left. Lists of
a batch call wait for their turn instead, take at most half of the slots, and are timed one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LEAST_SHARE = 0.5  # of the deadline, that a list and those before it may be expected to take
BATCH_WAIT_SECONDS = 5.0  # a batch call none of whose lists has a turn for so long is refused


class Overloaded(RuntimeError):
    """Too much is being computed; try again in a moment."""

    def __init__(self) -> None:
        super().__init__("too many lists are being computed here at the moment; try again")


class BatchCall:
    """The lists of one batch call. Waiting for one another they are not late: only others' work counts."""

    def __init__(self) -> None:
        self.turns = 0  # lists that have had theirs


class Admission:
    """``limit`` computed requests in flight, and no more than are expected well before ``deadline``
    seconds. For one event loop.

    How long one takes in a queue of n is measured, whatever it waits for: a slow release, a busy machine,
    other work of the loop. The longer a queue, the more its length varies, and the more of the deadline is
    kept back: a quarter for the third in it, half from the fifth on."""

    def __init__(
        self,
        limit: int,
        *,
        deadline: float = float("inf"),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._limit = limit
        self._deadline, self._clock = deadline, clock
        self._seconds_each = 0.0  # of a slot in the queue, lately
        self._batch_limit = max(1, limit // 2)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def full(self) -> bool:
        """Whether there is no slot for who does not wait. Two always have one: the arms of an interleaved
        list ask at once."""
        expected = (self.in_flight + 1) * self._seconds_each
        allowed = max(LEAST_SHARE, 1 - self.in_flight / 8) * self._deadline
        return self.in_flight >= self._limit or (self.in_flight > 1 and expected > allowed)

    @asynccontextmanager
    async def slot(self, *, batch: BatchCall | None = None, patient: bool = False) -> AsyncIterator[None]:
        """Holds one slot.

        Args:
            batch: the list's call; it waits for a slot until its call has had none for
                ``BATCH_WAIT_SECONDS``. Without one a slot is there at once or never.
            patient: however long it is expected to take: what would be answered instead is worse than late.

        Raises:
            Overloaded: there is no slot.
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
            spent = min(self._clock() - began, self._deadline)  # one stall shuts nobody out for long
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
