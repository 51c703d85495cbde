"""How old an item and how long here a user is when a rating is given, as small deviations of the link.

link += a_bin + a_i,bin + b_bin + b_u,bin: time effects in bins (Koren 2009, timeSVD++, section 3.1), each
with a level that everybody shares and one of the row's own, which start at 0 and are held there by weight
decay. Bins read only what train knows before the rating (``times.py``). The levels' values, like all
weights, are learnt from the whole of train: on a random split also from later ratings of the same bin, so
that what they gain there is no promise for the future, and a temporal split has to be looked at apart.
Koren's effects of single days are left out: they say nothing of any other day.

Training and prediction take each rating's own time. Ratings without times are predicted as given now, at
the newest training time, and so is everything once it is packed: the levels of now are part of the packed
biases, a release answers as of its newest rating, a new user begins as the trained ones are now, and
serving does no work for any of it. A search's figures are as of now too (``recsys.training.epoch_metrics``);
the ladder's are by each rating's own time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys.data.ratings import Ratings
from recsys.models.hybrid_vae.gather import gather
from recsys.models.hybrid_vae.time_bins import ITEM_EDGES, USER_EDGES, KnownFor
from recsys.types import IntArray


class SideLevels(nn.Module):
    """Those of one side's rows."""

    def __init__(self, known: KnownFor) -> None:
        super().__init__()
        self.known, bins = known, known.since.shape[1]
        self.shared = nn.Parameter(torch.zeros(bins))
        self.own = nn.Parameter(torch.zeros(len(known.since), bins))

    def forward(self, rows: Tensor, bins: Tensor) -> Tensor:
        """(batch,) on the link."""
        return gather(self.shared, bins) + gather(self.own.view(-1), rows * self.own.shape[1] + bins)

    def at(self, time: int) -> Tensor:
        """(rows,) on the link of every row at ``time``, Unix seconds."""
        rows = np.arange(len(self.known.since))
        bins = self.known.bins(rows, np.full(len(rows), time))
        result: Tensor = self(*(torch.from_numpy(part).to(self.own.device) for part in (rows, bins)))
        return result


class TimeLevels(nn.Module):
    """Both sides; ``now`` is the newest training time, Unix seconds."""

    def __init__(self, train: Ratings) -> None:
        """Raises ValueError where ``train`` has no times."""
        super().__init__()
        times = train.times
        if times is None:
            raise ValueError("time levels need ratings with timestamps")
        self.now = int(times.max(initial=0))
        self.users = SideLevels(KnownFor(train.users, times, count=train.user_count, edges=USER_EDGES))
        self.items = SideLevels(KnownFor(train.items, times, count=train.item_count, edges=ITEM_EDGES))

    def bins(self, ratings: Ratings) -> tuple[IntArray, IntArray]:
        """(n,) of the users and of the items of ``ratings``, at their times or else now."""
        times = np.full(len(ratings), self.now) if ratings.times is None else ratings.times
        return self.users.known.bins(ratings.users, times), self.items.known.bins(ratings.items, times)
