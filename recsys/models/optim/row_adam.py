"""Adam of a large table of which a step reads few rows: the other rows' steps are made up for later, exactly.

Adam with coupled weight decay moves every row at every step, read or not, and has no closed form for the
steps of a row that is not read. So they are replayed: before a row is read, the steps it missed are done with
a zero gradient and the rate of each step, by torch's own fused kernel, on rows gathered into a block that
fits the processor's cache. The arithmetic is the dense optimiser's; what is saved is moving the table and its
moments through memory at every step. No row is ever more than ``LONGEST_GAP`` steps behind: each step also
brings a share of the table up to date, in turn. An exponential average of the table is followed in the same
replay.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LONGEST_GAP = 64  # steps that a row is behind at most
BLOCK = 300_000  # numbers of the table that are replayed together, in cache (smaller ones call too often)
SMALLEST = 10_000_000  # numbers of tables together from which steps by row are cheaper (measured)


def cheaper_by_row(numbers: int, device: torch.device) -> bool:
    """Whether tables of so many ``numbers`` together are better stepped by row than densely.

    A graphics card has the bandwidth for dense steps, and replays would be many small launches there."""
    return device.type == "cpu" and numbers >= SMALLEST


class TableRows(NamedTuple):
    """Rows of a table that a step reads: ``values`` (different rows, width), a leaf of the step's graph that
    lasts until the step, and ``places`` (batch,) of each pair's row in them."""

    values: Tensor
    places: Tensor


class _Block(NamedTuple):
    """Gathered rows: weights, moments, and their exponential average where there is one."""

    parts: tuple[Tensor, ...]
    rows: NDArray[np.int64]
    last: NDArray[np.int64]  # steps that each row has had, rising


class RowAdam:
    """The optimiser of one table on a CPU. Its moments are those of ``optimizer``, which holds the table too
    and leaves it alone because it never has a gradient.

    A step is ``read``, the backward pass, then ``step``; after ``flush`` the table, its moments and its
    average are what dense steps would have left.
    """

    def __init__(self, table: nn.Parameter, optimizer: torch.optim.Adam, average: Tensor | None) -> None:
        """
        Args:
            table: (rows, width) weights on a CPU.
            optimizer: dense, without amsgrad; its betas, epsilon and weight decay are used.
            average: (rows, width) exponential average of the table, changed in place; None without one.
        """
        self.table, self.average, self._optimizer = table, average, optimizer
        self._zeros = torch.zeros(max(BLOCK, table.shape[1]))
        self._height = max(1, BLOCK // table.shape[1])
        self._buffers: list[Tensor] = []
        self._count = torch.zeros(())
        self.reset()

    def reset(self) -> None:
        """Forgets what is pending: the table and its moments were replaced."""
        self._last = np.zeros(len(self.table), dtype=np.int64)
        self._rates: list[
            tuple[float, float]
        ] = []  # of each step since the table was whole, and the average's
        self._before = 0.0  # steps that the whole table has had
        self._turn = 0
        self._reading: _Block | None = None
        self._leaf: Tensor | None = None

    def read(self, rows: Tensor) -> TableRows:
        """The table at ``rows`` (batch,) as this step sees it."""
        different, index = np.unique(rows.numpy().astype(np.int64), return_inverse=True)
        order = np.argsort(self._last[different], kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        self._reading = self._gathered(different[order])
        self._replay(self._reading)
        self._leaf = self._reading.parts[0].detach().requires_grad_()
        return TableRows(self._leaf, torch.from_numpy(places[index]))

    @property
    def leaf(self) -> Tensor:
        """What ``read`` gave, with its gradient."""
        assert self._leaf is not None, "read comes before step"
        return self._leaf

    @torch.no_grad()
    def step(self, rate: float, average_weight: float) -> None:
        """One step of the rows that were read, by their gradient; every other row's is pending.

        Args:
            rate: learning rate of this step.
            average_weight: share of the new weights in their exponential average.
        """
        block, gradient = self._reading, self.leaf.grad
        assert block is not None, "read comes before step"
        assert gradient is not None, "the backward pass comes before step"
        now = len(self._rates)
        if now == 0:
            self._before = self._moments()["step"].item()
        self._rates.append((rate, average_weight))
        self._adam(block.parts, gradient, now)
        self._store(block, now + 1)
        self._reading = self._leaf = None
        share = -(-len(self._last) // LONGEST_GAP)
        self._catch_up(self._turn, min(self._turn + share, len(self._last)))
        self._turn = 0 if self._turn + share >= len(self._last) else self._turn + share

    @torch.no_grad()
    def flush(self) -> None:
        """Brings every row up to date."""
        if not self._rates:
            return
        self._catch_up(0, len(self._last))
        self._moments()["step"] += len(self._rates)
        self.reset()

    def _catch_up(self, start: int, end: int) -> None:
        """Rows ``start`` to ``end``, those furthest behind first."""
        last = self._last[start:end]
        rows = start + np.argsort(last, kind="stable")[: np.count_nonzero(last < len(self._rates))]
        for first in range(0, len(rows), self._height):
            block = self._gathered(rows[first : first + self._height])
            self._replay(block)
            self._store(block, len(self._rates))

    def _moments(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self._optimizer.state[self.table]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(self.table) for _ in range(2))
        return state

    def _stored(self) -> tuple[Tensor, ...]:
        state = self._moments()
        parts = (self.table.detach(), state["exp_avg"], state["exp_avg_sq"])
        return parts if self.average is None else (*parts, self.average)

    def _gathered(self, rows: NDArray[np.int64]) -> _Block:
        """Copies of ``rows``, in the memory of the block before: fresh memory costs as much as copying."""
        indices, stored = torch.from_numpy(rows), self._stored()
        if not self._buffers or len(self._buffers[0]) < len(rows):
            self._buffers = [part.new_empty(max(len(rows), self._height), part.shape[1]) for part in stored]
        parts = tuple(buffer[: len(rows)] for buffer in self._buffers)
        for part, copy in zip(stored, parts, strict=True):
            torch.index_select(part, 0, indices, out=copy)
        return _Block(parts, rows, self._last[rows])

    def _store(self, block: _Block, now: int) -> None:
        for part, values in zip(self._stored(), block.parts, strict=True):
            part.numpy()[block.rows] = values.detach().numpy()  # faster than index_copy_
        self._last[block.rows] = now

    @torch.no_grad()
    def _replay(self, block: _Block) -> None:
        """Does the steps that the block's rows have missed; those that missed more come first."""
        width = self.table.shape[1]
        for start in range(0, len(block.last), self._height):
            last = block.last[start : start + self._height]
            parts = tuple(part[start : start + len(last)] for part in block.parts)
            steps = np.arange(last[0], len(self._rates))
            for step, count in zip(
                steps.tolist(), np.searchsorted(last, steps, side="right").tolist(), strict=True
            ):
                some = parts if count == len(last) else tuple(part[:count] for part in parts)
                self._adam(some, self._zeros[: count * width].view(count, width), step)

    def _adam(self, parts: tuple[Tensor, ...], gradient: Tensor, step: int) -> None:
        """Step number ``step`` since the table was whole."""
        group = self._optimizer.param_groups[0]
        rate, weight = self._rates[step]
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            [parts[0]],
            [gradient],
            [parts[1]],
            [parts[2]],
            [],
            [self._count.fill_(self._before + step + 1)],
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        if self.average is not None:
            parts[3].lerp_(parts[0], weight)
