"""Similarity of a shadow arm's lists to the shown ones, and their cost.

Overlap is the share of shown items that the shadow list has too; the order of the shared items is compared by
Kendall's tau. The id of a shadow exposure is that of the shown one with the arm's name.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from scipy.stats import kendalltau

from serving.domain import Exposure

MAX_PENDING = 20_000  # shown lists that wait for their shadow answers


@dataclass
class ShadowAggregates:
    """Means over pairs of lists, None without any."""

    pairs: int = 0
    overlap_sum: float = 0.0
    ranked: int = 0
    tau_sum: float = 0.0
    extra_milliseconds: float = 0.0

    @property
    def overlap(self) -> float | None:
        return self.overlap_sum / self.pairs if self.pairs else None

    @property
    def rank_correlation(self) -> float | None:
        return self.tau_sum / self.ranked if self.ranked else None

    def as_json(self) -> dict[str, float | int | None]:
        return {
            "pairs": self.pairs,
            "overlap": self.overlap,
            "rank_correlation": self.rank_correlation,
            "slower_by_milliseconds": self.extra_milliseconds / self.pairs if self.pairs else None,
        }


@dataclass
class Shadows:
    """``add`` every exposure in the order of the store; ``by_arm`` has the results."""

    by_arm: dict[str, ShadowAggregates] = field(default_factory=lambda: defaultdict(ShadowAggregates))
    _pending: OrderedDict[str, Exposure] = field(default_factory=OrderedDict)

    def add(self, exposure: Exposure) -> None:
        """Keep a shown list, or compare a shadow list with its shown one."""
        if not exposure.shadow:
            self._pending[exposure.exposure_id] = exposure
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
            return
        original = self._pending.get(exposure.exposure_id.removesuffix(f"-{exposure.arm}"))
        if original is None or not original.items:
            return
        aggregates = self.by_arm[exposure.arm]
        shared = [item for item in original.items if item in set(exposure.items)]
        aggregates.pairs += 1
        aggregates.overlap_sum += len(shared) / len(original.items)
        aggregates.extra_milliseconds += exposure.milliseconds - original.milliseconds
        if len(shared) >= 2:
            ranks = [exposure.items.index(item) for item in shared]
            aggregates.tau_sum += float(kendalltau(range(len(shared)), ranks).statistic)
            aggregates.ranked += 1
