"""Ordinal output: cumulative logit model with learned cutpoints (McCullagh 1980).

P(rating at least level l) = sigmoid(s_u (link - c_l)). The cutpoints c are shared by all users and learned as
the first one and the logarithms of the gaps, so that they stay in order; ``s_u`` is a user's sharpness, 1
unless ``by_user`` (after OrdRec, Koren & Sill 2011, where every user has cutpoints: here the user bias shifts
them, so a single factor that spreads them suffices). Training maximises the likelihood of the observed level;
the prediction is the expected stars, of which ``loss`` and ``rmse`` are computed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from recsys.data.ratings import Ratings
from recsys.models.bayes_mf.observation import MOST_LEVELS, rating_levels
from recsys.models.hybrid_vae.gather import gather

FITTED_ON = 100_000  # ratings that the cutpoints of a start are fitted to


class OrdinalOutput(nn.Module):
    """``levels`` (levels,) stars, ascending; ``cuts`` (levels - 1,) the cutpoints between them."""

    levels: Tensor
    steps: Tensor

    def __init__(self, ratings: Ratings, *, by_user: bool) -> None:
        """Initialises the cutpoints at the quantiles of the ratings.

        Args:
            ratings: The training slice.
            by_user: Whether users have a sharpness.

        Raises:
            ValueError: Not 2 to 21 distinct ratings.
        """
        super().__init__()
        levels = rating_levels(ratings.values, "ordinal").astype(np.float32)
        if len(levels) < 2:
            raise ValueError(f"an ordinal output needs 2 to {MOST_LEVELS} distinct ratings")
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)
        self.register_buffer("steps", torch.from_numpy(np.diff(levels)), persistent=False)
        counts = np.bincount(np.searchsorted(levels, ratings.values), minlength=len(levels))
        below = np.cumsum(counts)[:-1] / counts.sum()
        cuts = np.log(below / (1 - below)).astype(np.float32)
        self.first = nn.Parameter(torch.tensor(cuts[0]))
        self.gaps = nn.Parameter(torch.from_numpy(np.log(np.maximum(np.diff(cuts), 1e-3))))
        self.spread = nn.Parameter(torch.zeros(ratings.user_count)) if by_user else None

    def cuts(self) -> Tensor:
        """(levels - 1,) cutpoints, ascending."""
        return torch.cat([self.first[None], self.first + self.gaps.exp().cumsum(0)])

    def labels(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """(n,) level of each of ``values`` (n,), the next lower one for a rating between levels."""
        levels = self.levels.cpu().numpy()
        result: NDArray[np.int64] = np.searchsorted(levels, values, side="right") - 1
        return result.clip(0)

    def above(self, link: Tensor, users: Tensor) -> Tensor:
        """(batch, levels - 1) logits of a rating above each cutpoint, for ``link`` and ``users`` (batch,)."""
        logits = link[:, None] - self.cuts()
        return logits if self.spread is None else logits * gather(self.spread, users).exp()[:, None]

    def stars(self, link: Tensor, users: Tensor) -> Tensor:
        """(batch,) expected stars, for ``link`` and ``users`` (batch,)."""
        return self.levels[0] + (torch.sigmoid(self.above(link, users)) * self.steps).sum(dim=1)

    def surprise(self, link: Tensor, users: Tensor, labels: Tensor) -> Tensor:
        """Mean negative log-likelihood.

        By sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which is numerically stable.

        Args:
            link: (batch,).
            users: (batch,) rows.
            labels: (batch,) observed levels.

        Returns:
            () nats.
        """
        logits = self.above(link, users)
        last = len(self.steps)
        low = logits.gather(1, (labels - 1).clamp(min=0)[:, None]).squeeze(1)
        high = logits.gather(1, labels.clamp(max=last - 1)[:, None]).squeeze(1)
        inner = (labels > 0) & (labels < last)
        width = torch.where(inner, low - high, torch.ones_like(low)).clamp(min=1e-6)
        log_share = torch.where(labels > 0, logsigmoid(low), torch.zeros_like(low))
        log_share = log_share + torch.where(labels < last, logsigmoid(-high), torch.zeros_like(low))
        log_share = log_share + torch.where(inner, torch.log(-torch.expm1(-width)), torch.zeros_like(low))
        return -log_share.mean()

    def fit(self, link: Tensor, labels: Tensor) -> float:
        """Maximum likelihood fit of the cutpoints to a fixed link.

        Args:
            link: (n,).
            labels: (n,) observed levels.

        Returns:
            The fitted slope of the link.
        """
        spaced = np.linspace(0, len(link) - 1, min(FITTED_ON, len(link)))  # float32 ends at 16.7 million
        indices = torch.from_numpy(spaced.astype(np.int64))
        link, labels = link[indices], labels[indices]
        slope = torch.ones((), requires_grad=True)
        parameters = [slope, self.first, self.gaps]
        optimizer = torch.optim.LBFGS(parameters, max_iter=60, line_search_fn="strong_wolfe")
        users = torch.zeros(len(link), dtype=torch.int64)  # all with a sharpness of 1

        def error() -> float:
            optimizer.zero_grad()
            value = self.surprise(slope * link, users, labels)
            value.backward()
            return value.item()

        optimizer.step(error)
        for tensor in parameters:
            tensor.grad = None
        return float(slope.detach())
