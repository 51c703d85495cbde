"""Rows of a table, with a gradient that adds up in the same order every time.

Indexing with a tensor adds gradients atomically from several threads on a CPU: sums of floats then depend
on who came first, and bfloat16 carries the difference into the second digit within epochs. ``embedding``
and ``index_select`` split the table between threads instead.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import embedding


def gather(table: Tensor, rows: Tensor) -> Tensor:
    """(batch, width) of a (rows, width) table, or (batch,) of a (rows,) one."""
    if table.dim() == 1:
        return table.index_select(0, rows)
    return embedding(rows, table)
