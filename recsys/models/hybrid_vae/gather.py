"""Embedding lookup with a deterministic gradient.

Indexing with a tensor adds gradients atomically from several threads on a CPU: sums of floats then depend on
the order of threads, and bfloat16 amplifies the difference to the second digit within epochs. ``embedding``
and ``index_select`` split the table between threads instead.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import embedding


def gather(table: Tensor, rows: Tensor) -> Tensor:
    """The ``rows`` (batch,) of a table: (batch, width) of a (rows, width) one, (batch,) of a (rows,) one."""
    if table.dim() == 1:
        return table.index_select(0, rows)
    return embedding(rows, table)
