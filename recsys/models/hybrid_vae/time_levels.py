"""Time effects: deviations of the link by the ages of the item and of the user's membership.

link += a_bin + a_i,bin + b_bin + b_u,bin: time effects in bins (Koren 2009, timeSVD++, section 3.1), each
with a shared level and one of the row, which start at 0 and are regularised by weight decay. Bins read only
training ratings before the rating (``time_bins.py``). The levels, like all weights, are learnt from all of
train: on a random split also from later ratings of the same bin, so that gains there do not imply gains for
the future, and a temporal split must be measured separately. Koren's effects of single days are left out:
they do not generalise to other days.

Training and prediction use each rating's time. Ratings without times are predicted at the newest training
time, and so are those of a packed model: the newest levels are added to the packed biases, so that a release
predicts as of its newest rating, a new user starts at the trained users' newest level, and serving has no
extra cost. A search's figures are at that time too (``recsys.training.epoch_metrics``); the ablation
benchmark's are at each rating's time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys.data.ratings import Ratings
from recsys.models.hybrid_vae.gather import gather
from recsys.models.hybrid_vae.time_bins import ITEM_EDGES, USER_EDGES, AgeBins
from recsys.types import IntArray


class SideLevels(nn.Module):
    """Levels of the users or of the items."""

    def __init__(self, ages: AgeBins) -> None:
        super().__init__()
        self.ages, bins = ages, ages.since.shape[1]
        self.shared = nn.Parameter(torch.zeros(bins))
        self.own = nn.Parameter(torch.zeros(len(ages.since), bins))

    def forward(self, rows: Tensor, bins: Tensor) -> Tensor:
        """(batch,) terms of the link, for ``rows`` and their ``bins`` (batch,)."""
        return gather(self.shared, bins) + gather(self.own.view(-1), rows * self.own.shape[1] + bins)

    def at(self, time: int) -> Tensor:
        """(rows,) terms of the link of all rows at ``time``, Unix seconds."""
        rows = np.arange(len(self.ages.since))
        bins = self.ages.bins(rows, np.full(len(rows), time))
        result: Tensor = self(*(torch.from_numpy(array).to(self.own.device) for array in (rows, bins)))
        return result


class TimeLevels(nn.Module):
    """Levels of users and items; ``now`` is the newest training time, Unix seconds."""

    def __init__(self, train: Ratings) -> None:
        """
        Raises:
            ValueError: ``train`` has no times.
        """
        super().__init__()
        times = train.times
        if times is None:
            raise ValueError("time levels need ratings with timestamps")
        self.now = int(times.max(initial=0))
        self.users = SideLevels(AgeBins(train.users, times, count=train.user_count, edges=USER_EDGES))
        self.items = SideLevels(AgeBins(train.items, times, count=train.item_count, edges=ITEM_EDGES))

    def bins(self, ratings: Ratings) -> tuple[IntArray, IntArray]:
        """(n,) bins of the users and of the items of ``ratings``, at their times, or ``now`` without."""
        times = np.full(len(ratings), self.now) if ratings.times is None else ratings.times
        return self.users.ages.bins(ratings.users, times), self.items.ages.bins(ratings.items, times)
