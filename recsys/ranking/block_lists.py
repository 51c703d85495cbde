"""Batched top-k retrieval of a ranker on a device, for evaluation.

The lists of ``Retriever``: products in float32 select candidates; where scores are inner products with
factors, candidates are ordered by sums in float64, rounded once, so that lists differ from served ones only
where scores are within rounding of each other. The full catalogue is scored and seen items are masked; no
shape depends on values, so that a block never waits for the GPU. Meant for a GPU: on a CPU the retriever,
which seldom scores all items, needs a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.metrics.ranking import NO_ITEM, Lists
from recsys.models.base import History
from recsys.ranking.ranker import LINKS, Ranker, prior_shares

CELLS = {"cpu": 1 << 20, "cuda": 1 << 27}  # scores of a block: a CPU's cache, a share of a GPU's memory
STRIPE = 32  # adjacent scores that are represented by their maximum
EXTRA = 6  # candidates beyond the list that are summed in float64: room for equal and nearly equal scores


class BlockLists:
    """A ranker's arrays on ``device``, made once for all blocks."""

    def __init__(self, ranker: Ranker, device: torch.device) -> None:
        self._ranker, self._device = ranker, device
        names = [name for name in ("factors", "weights", "base", "prior", *LINKS) if ranker.has(name)]
        # Copies: torch warns of arrays that cannot be written to, as those of a mapped file.
        self._arrays = {name: torch.from_numpy(np.array(ranker.arrays[name])).to(device) for name in names}

    def best(
        self, histories: Sequence[History], users: Sequence[int | None] | None = None, *, count: int
    ) -> Lists:
        """The best unseen items of users.

        Args:
            histories: Of each user; its items are not listed.
            users: The row of a user whose history is the one of training, None for others.
            count: Items of a list.

        Returns:
            (len(histories), count) item rows, best first, NO_ITEM after the last; of equal scores the lower
            row comes first.
        """
        block = max(1, CELLS.get(self._device.type, CELLS["cpu"]) // self._ranker.item_count)
        blocks = []
        for first in range(0, len(histories), block):
            rows = slice(first, first + block)
            blocks.append(self.block(histories[rows], None if users is None else users[rows], count=count))
        lists = torch.cat(blocks).cpu().numpy() if blocks else np.empty((0, count), dtype=np.int32)
        return lists.astype(np.int32, copy=False)

    def block(
        self, histories: Sequence[History], users: Sequence[int | None] | None, *, count: int
    ) -> Tensor:
        """The lists of a block, (len(histories), count) int32 on the device; as ``best``."""
        vectors = self._vectors(histories, users)
        sizes = np.array([len(history.items) for history in histories], dtype=np.int64)
        items = np.concatenate([history.items for history in histories]).astype(np.int64)
        seen_rows = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self._device)
        seen = torch.from_numpy(items).to(self._device)
        scores = self._linear(vectors, seen_rows, seen, rows=len(sizes), links=self._link_count(items))
        bonus = self._bonus(scores, histories)
        if bonus is not None:
            scores.addcmul_(bonus[:, None], self._arrays["prior"])
        scores.view(-1).index_fill_(0, seen_rows * scores.shape[1] + seen, -torch.inf)
        if not self._ranker.scores_by_factors:
            return first_columns(scores, count)
        candidates = first_columns(scores, count + EXTRA).long()
        exact = self._exact(candidates.clamp(min=0), vectors, bonus)
        exact.masked_fill_(candidates == NO_ITEM, -torch.inf)
        return reorder(candidates, exact, count)

    def _vectors(self, histories: Sequence[History], users: Sequence[int | None] | None) -> Tensor | None:
        if not self._ranker.has("factors"):
            return None
        return torch.from_numpy(self._ranker.user_factors(histories, users)).to(self._device)

    def _link_count(self, items: NDArray[np.int64]) -> int:
        """Links of the rated ``items``, counted on the host to save a synchronisation."""
        if not self._ranker.has("links_ends"):
            return 0
        ends = self._ranker.arrays["links_ends"]
        return int((ends[items + 1].astype(np.int64) - ends[items]).sum())

    def _linear(
        self, vectors: Tensor | None, seen_rows: Tensor, seen: Tensor, *, rows: int, links: int
    ) -> Tensor:
        """(rows, items) scores without the prior."""
        arrays, items = self._arrays, self._ranker.item_count
        if vectors is not None:
            scores = vectors @ arrays["factors"].T
        else:
            scores = torch.zeros(rows, items, device=self._device)
        if "weights" in arrays:
            rated = torch.zeros(rows, items, device=self._device)
            rated.view(-1).index_fill_(0, seen_rows * items + seen, 1.0)
            scores.addmm_(rated, arrays["weights"])
        if "links_ends" in arrays:
            ends, targets, values = (arrays[name] for name in LINKS)
            starts = ends[seen].long()
            lengths = ends[seen + 1].long() - starts
            entry = torch.repeat_interleave(
                torch.arange(len(seen), device=self._device), lengths, output_size=links
            )
            before = lengths.cumsum(0) - lengths
            link = starts[entry] + torch.arange(links, device=self._device) - before[entry]
            scores.view(-1).index_add_(0, seen_rows[entry] * items + targets[link], values[link])
        if "base" in arrays:
            scores += arrays["base"]
        return scores

    def _bonus(self, scores: Tensor, histories: Sequence[History]) -> Tensor | None:
        """(rows,) score that the prior adds to the most popular item; None without a prior."""
        if "prior" not in self._arrays:
            return None
        if not self._ranker.folds_in:
            return torch.ones(len(scores), device=self._device)
        shares = prior_shares(histories, self._ranker.settings["newcomers"])
        most: Tensor = scores.amax(dim=1).clamp(min=0)
        return most.mul_(torch.from_numpy(shares).to(self._device))

    def _exact(self, items: Tensor, vectors: Tensor | None, bonus: Tensor | None) -> Tensor:
        """(rows, n) scores of ``items`` (rows, n), summed in float64 and rounded once."""
        assert vectors is not None
        item_factors = self._arrays["factors"][items].double()
        scores = torch.linalg.vecdot(item_factors, vectors.double()[:, None])
        if bonus is not None:
            scores += bonus.double()[:, None] * self._arrays["prior"][items]
        exact: Tensor = scores.float()
        return exact


def first_columns(scores: Tensor, count: int) -> Tensor:
    """Top-k of each row, best first; among equal scores the lower column comes first, exactly.

    The ``count`` best scores are in the ``count`` stripes with the highest maxima; only those are sorted.

    Args:
        scores: (rows, columns) float32; -inf is never listed, NaN counts as -inf.
        count: Columns to return of each row.

    Returns:
        (rows, count) int32 columns, NO_ITEM after the last.
    """
    scores = scores.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    rows, columns = scores.shape
    device, stripes = scores.device, columns // STRIPE
    full_width = stripes * STRIPE
    if stripes <= 4 * count:
        return reorder(torch.arange(columns, device=device).expand(rows, columns), scores, count)
    # Stripes are contiguous, so of two with equal maxima the first has the lower column.
    best = scores[:, :full_width].view(rows, stripes, STRIPE).amax(dim=2)
    offsets = torch.arange(stripes, device=device).expand(rows, stripes)
    chosen = _keys(best, offsets).topk(count, dim=1, sorted=False).indices
    inside = chosen[:, :, None] * STRIPE + torch.arange(STRIPE, device=device)
    rest = torch.arange(full_width, columns, device=device).expand(rows, -1)
    positions = torch.cat([inside.flatten(1), rest], dim=1)
    return reorder(positions, scores.gather(1, positions), count)


def reorder(columns: Tensor, scores: Tensor, count: int) -> Tensor:
    """Sorts the candidates of each row.

    Args:
        columns: (rows, n) candidates.
        scores: (rows, n) of the candidates.
        count: Columns to return of each row.

    Returns:
        (rows, count) int32 columns by descending score, equal ones ascending; NO_ITEM for -inf and after
        the last.
    """
    width = min(count, columns.shape[1])
    order = _keys(scores, columns).topk(width, dim=1).indices
    listed = columns.gather(1, order).masked_fill(scores.gather(1, order).isneginf(), NO_ITEM)
    return torch.nn.functional.pad(listed, (0, count - width), value=NO_ITEM).int()


def _keys(scores: Tensor, columns: Tensor) -> Tensor:
    """Unique int64 sort keys: in the order of float32 ``scores``, equal ones by descending ``columns``."""
    bits = (scores + 0.0).view(torch.int32).long()  # + 0.0: -0.0 equals 0.0
    ascending = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ascending << 32) - columns
