"""Users or items of the factorisation: factors, their prior, and ratings in groups of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.bayes_mf.basis import Array
from recsys.models.bayes_mf.row_groups import RowGroups
from recsys.models.bayes_mf.row_prior import RowPrior


@dataclass
class FactorBlock:
    """The users or the items, as tensors on the chain's device."""

    prior: RowPrior
    ratings: RowGroups
    drawn: Tensor  # (rows, width)
    conditional: Tensor  # (rows, width) mean of ``drawn``, given the other side's
    noise_precision: Tensor  # (rows,)
    counts: Array  # (rows,) ratings

    @property
    def vectors(self) -> NDArray[np.float32]:
        """``drawn`` on the host."""
        return self.drawn.cpu().numpy()

    @property
    def mean(self) -> NDArray[np.float32]:
        """``conditional`` on the host."""
        return self.conditional.cpu().numpy()

    @property
    def precisions(self) -> NDArray[np.float32]:
        """``noise_precision`` on the host."""
        return self.noise_precision.cpu().numpy()

    def root_precisions(self) -> Tensor:
        """(rows + 1,) root of each row's noise precision, 0 for the padding row."""
        return torch.cat([self.noise_precision.sqrt(), self.noise_precision.new_zeros(1)])

    def table(self) -> Tensor:
        """(rows + 1, width + 1) factors, 1 and bias, times the root of the row's noise precision."""
        ones = torch.ones_like(self.drawn[:, :1])
        table = torch.cat([self.drawn[:, :-1], ones, self.drawn[:, -1:]], dim=1)
        table *= self.noise_precision.sqrt()[:, None]
        return torch.cat([table, table.new_zeros(1, table.shape[1])])
