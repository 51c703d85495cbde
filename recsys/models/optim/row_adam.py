"""Lazy Adam for a large embedding table: rows that a step does not read are updated later, exactly.

Adam with coupled weight decay changes every row at every step, read or not, without a closed form for several
steps. So they are replayed: before a row is read, its missed steps are applied with a zero gradient and the
rate of each step, by torch's fused kernel, on rows gathered into a block that fits the CPU's cache. The
arithmetic is the dense optimiser's; the saving is memory traffic of the table and its moments. No row is more
than ``LONGEST_GAP`` steps behind: each step also updates a share of the table, in turn. The replay also
updates an exponential moving average of the table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LONGEST_GAP = 64  # steps that a row may be behind
BLOCK = 300_000  # parameters of a replayed block, in cache (smaller blocks have too much overhead)
SMALLEST = 10_000_000  # parameters of all tables from which steps by row are cheaper (measured)


def cheaper_by_row(parameters: int, device: torch.device) -> bool:
    """Whether steps by row are cheaper than dense ones.

    A GPU has the bandwidth for dense steps, and replays would be many small launches there.

    Args:
        parameters: Of all tables.
        device: Of the tables.
    """
    return device.type == "cpu" and parameters >= SMALLEST


class TableRows(NamedTuple):
    """Rows of a table for a step: ``values`` (distinct rows, width), a leaf of the step's graph that is valid
    until the step, and ``positions`` (batch,) of each pair's row in them."""

    values: Tensor
    positions: Tensor


class _Block(NamedTuple):
    """Gathered rows: weights, moments, and their exponential moving average if there is one."""

    tensors: tuple[Tensor, ...]
    rows: NDArray[np.int64]
    last: NDArray[np.int64]  # number of steps that each row has had, ascending


class RowAdam:
    """The optimiser of a table on a CPU. Its moments are those of ``optimizer``, which also holds the table
    but skips it, as it never has a gradient.

    A step is ``read``, the backward pass, then ``step``; after ``flush`` the table, its moments and its
    average are as after dense steps.
    """

    def __init__(self, table: nn.Parameter, optimizer: torch.optim.Adam, average: Tensor | None) -> None:
        """
        Args:
            table: (rows, width) weights on a CPU.
            optimizer: Dense, without amsgrad; its betas, epsilon and weight decay apply.
            average: (rows, width) exponential moving average of the table, changed in place, or None.
        """
        self.table, self.average, self._optimizer = table, average, optimizer
        self._zeros = torch.zeros(max(BLOCK, table.shape[1]))
        self._height = max(1, BLOCK // table.shape[1])
        self._buffers: list[Tensor] = []
        self._count = torch.zeros(())
        self.reset()

    def reset(self) -> None:
        """Discards pending steps, after the table and its moments were replaced."""
        self._last = np.zeros(len(self.table), dtype=np.int64)
        # Learning rate and average weight of each step since the last flush.
        self._rates: list[tuple[float, float]] = []
        self._before = 0.0  # steps before the last flush
        self._next_row = 0  # of the rows that are updated in turn
        self._reading: _Block | None = None
        self._leaf: Tensor | None = None

    def read(self, rows: Tensor) -> TableRows:
        """The current values of ``rows`` (batch,), for this step."""
        distinct, index = np.unique(rows.numpy().astype(np.int64), return_inverse=True)
        order = np.argsort(self._last[distinct], kind="stable")
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        self._reading = self._gathered(distinct[order])
        self._replay(self._reading)
        self._leaf = self._reading.tensors[0].detach().requires_grad_()
        return TableRows(self._leaf, torch.from_numpy(inverse[index]))

    @property
    def leaf(self) -> Tensor:
        """The values of the last ``read``, with their gradient."""
        assert self._leaf is not None, "read comes before step"
        return self._leaf

    @torch.no_grad()
    def step(self, rate: float, average_weight: float) -> None:
        """A step of the rows that were read, by their gradient; the other rows' steps are pending.

        Args:
            rate: Learning rate of this step.
            average_weight: Share of the new weights in their exponential moving average.
        """
        block, gradient = self._reading, self.leaf.grad
        assert block is not None, "read comes before step"
        assert gradient is not None, "the backward pass comes before step"
        now = len(self._rates)
        if now == 0:
            self._before = self._moments()["step"].item()
        self._rates.append((rate, average_weight))
        self._adam(block.tensors, gradient, now)
        self._store(block, now + 1)
        self._reading = self._leaf = None
        end = self._next_row + -(-len(self._last) // LONGEST_GAP)
        self._catch_up(self._next_row, min(end, len(self._last)))
        self._next_row = 0 if end >= len(self._last) else end

    @torch.no_grad()
    def flush(self) -> None:
        """Brings every row up to date."""
        if not self._rates:
            return
        self._catch_up(0, len(self._last))
        self._moments()["step"] += len(self._rates)
        self.reset()

    def _catch_up(self, start: int, end: int) -> None:
        """Applies the pending steps of rows ``start`` to ``end``, those furthest behind first."""
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
        tensors = (self.table.detach(), state["exp_avg"], state["exp_avg_sq"])
        return tensors if self.average is None else (*tensors, self.average)

    def _gathered(self, rows: NDArray[np.int64]) -> _Block:
        """Copies of ``rows``, in the memory of the previous block: allocating costs as much as copying."""
        indices, stored = torch.from_numpy(rows), self._stored()
        if not self._buffers or len(self._buffers[0]) < len(rows):
            height = max(len(rows), self._height)
            self._buffers = [table.new_empty(height, table.shape[1]) for table in stored]
        tensors = tuple(buffer[: len(rows)] for buffer in self._buffers)
        for table, copy in zip(stored, tensors, strict=True):
            torch.index_select(table, 0, indices, out=copy)
        return _Block(tensors, rows, self._last[rows])

    def _store(self, block: _Block, now: int) -> None:
        for table, values in zip(self._stored(), block.tensors, strict=True):
            table.numpy()[block.rows] = values.detach().numpy()  # faster than index_copy_
        self._last[block.rows] = now

    @torch.no_grad()
    def _replay(self, block: _Block) -> None:
        """Applies the missed steps of the block's rows, which are sorted by their number of steps."""
        width = self.table.shape[1]
        for start in range(0, len(block.last), self._height):
            last = block.last[start : start + self._height]
            tensors = tuple(tensor[start : start + len(last)] for tensor in block.tensors)
            steps = np.arange(last[0], len(self._rates))
            counts = np.searchsorted(last, steps, side="right")
            for step, count in zip(steps.tolist(), counts.tolist(), strict=True):
                behind = tensors if count == len(last) else tuple(tensor[:count] for tensor in tensors)
                self._adam(behind, self._zeros[: count * width].view(count, width), step)

    def _adam(self, tensors: tuple[Tensor, ...], gradient: Tensor, step: int) -> None:
        """Step number ``step`` since the last flush."""
        group = self._optimizer.param_groups[0]
        rate, weight = self._rates[step]
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            [tensors[0]],
            [gradient],
            [tensors[1]],
            [tensors[2]],
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
            tensors[3].lerp_(tensors[0], weight)
