"""What a cluster will cost before anything is rented, from the catalogue of now or from the dated price file.

The most a run can cost is the smaller of max_usd and price x max_hours; it is what a person confirms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from clusters.cluster_errors import ClusterError
from clusters.forecast import CARDS, Workload, forecast, memory_gb
from clusters.quote_calibration import calibration_of
from clusters.spec import RentedSpec

HOURS_A_MONTH = 730.0


@dataclass(frozen=True)
class Prices:
    """USD an hour for one GPU of each type, and where and when they were read."""

    source: str
    gpus: Mapping[str, float]
    stock: Mapping[str, str]  # NONE, LOW, MEDIUM, HIGH; empty where not known
    disk_usd_per_gb_month: float
    market: str = ""  # the part of the provider's offer that was asked, e.g. SECURE


@dataclass(frozen=True)
class Offer:
    """One GPU of the list: what the whole cluster of it costs an hour, or why it is passed over."""

    gpu: str
    batch_size: int
    usd_per_hour: float  # 0 where no price is known
    refused: str = ""
    small: bool = False  # refused, for it cannot hold the plan


@dataclass(frozen=True)
class Quote:
    """Offers in order of preference, and the limits that hold for each."""

    source: str
    offers: tuple[Offer, ...]
    pods: int
    gpus_per_pod: int
    max_usd: float
    max_hours: float
    trials_per_gpu: int = 1

    @property
    def usable(self) -> tuple[Offer, ...]:
        return tuple(offer for offer in self.offers if not offer.refused)

    def most_usd(self, offer: Offer) -> float:
        """The most a run on this offer can cost under the limits."""
        return min(self.max_usd, offer.usd_per_hour * self.max_hours)

    def holding(self, workload: Workload | None) -> Quote:
        """The same, with the cards passed over that cannot hold a plan.

        Raises:
            ClusterError: no card of the list that can be had can hold it.
        """
        if workload is None:
            return self
        needed = memory_gb(workload, trials_per_gpu=self.trials_per_gpu)

        def checked(offer: Offer) -> Offer:
            memory = CARDS.get(offer.gpu, (math.inf, 0))[0]
            if offer.refused or needed <= memory:
                return offer
            why = f"cannot hold the plan: it needs about {needed:.0f} GB, the card has {memory:.0f} GB"
            return replace(offer, refused=why, small=True)

        quote = replace(self, offers=tuple(map(checked, self.offers)))
        if self.usable and not quote.usable:
            raise ClusterError(
                f"{quote.text()}\nno GPU of the list can hold the plan: add a card with more memory to gpus, "
                "or lower trials_per_gpu"
            )
        return quote

    def expected(self, offer: Offer, workload: Workload) -> str:
        """What a plan comes to on an offer."""
        calibration = calibration_of(offer.gpu)
        coming = forecast(
            workload,
            offer.gpu,
            gpus=self.pods * self.gpus_per_pod,
            usd_per_hour=offer.usd_per_hour,
            max_hours=self.max_hours,
            max_usd=self.max_usd,
            trials_per_gpu=self.trials_per_gpu,
            network_ratio=calibration.network,
            chain_ratio=calibration.chain,
        )
        if coming is None:
            return "no forecast: the card's bandwidth is not known (clusters/forecast.py, CARDS)"
        held = f"{coming.memory_gb:.0f} of {CARDS[offer.gpu][0]} GB"
        return f"expected for {workload.name}: {coming.text()}, {held}{calibration.text()}"

    def text(self, workload: Workload | None = None) -> str:
        """The quote to be confirmed; with a plan's workload, what the money buys."""
        if not self.offers:
            return self.source
        lines = [
            f"prices: {self.source}",
            f"{self.pods} pod(s) of {self.gpus_per_pod} GPU(s), first that can be had:",
        ]
        for offer in self.offers:
            price = f"${offer.usd_per_hour:.2f}/h" if offer.usd_per_hour else "no price"
            if offer.refused:
                tail = f"passed over: {offer.refused}"
            else:
                hours = min(self.max_hours, self.max_usd / offer.usd_per_hour)
                tail = f"at most ${self.most_usd(offer):.2f} (ends after {hours:.1f} h)"
            lines.append(f"  {offer.gpu:32s} batch {offer.batch_size}  {price:>9s}  {tail}")
            if workload is not None and not offer.refused:
                lines.append(f"    {self.expected(offer, workload)}")
        if self.usable:
            most = max(self.most_usd(offer) for offer in self.usable)
            lines.append(
                f"most it can cost: ${most:.2f} (limits: ${self.max_usd:.2f}, {self.max_hours:g} h); "
                "expected: 2 to 27 minutes for a pod's start, billed; then what the plan takes, within that"
            )
        return "\n".join(lines)


def make_quote(spec: RentedSpec, prices: Prices) -> Quote:
    """Each GPU of the list against the prices and the limits.

    Raises:
        ClusterError: not one GPU can be had under the limits.
    """
    disk = spec.disk_gb * prices.disk_usd_per_gb_month / HOURS_A_MONTH * spec.pods
    offers = []
    for choice in spec.gpus:
        each = prices.gpus.get(choice.id)
        price = 0.0 if each is None else each * spec.gpus_per_pod * spec.pods + disk
        refused = ""
        if each is None:
            refused = " ".join(["no", prices.market, "price is known for it"]).replace("  ", " ")
        elif price > spec.max_usd_per_hour:
            refused = f"above max_usd_per_hour ${spec.max_usd_per_hour:.2f}"
        elif prices.stock.get(choice.id) == "NONE":
            refused = "none free at the moment"
        offers.append(Offer(choice.id, choice.batch_size, price, refused))
    quote = Quote(
        prices.source,
        tuple(offers),
        spec.pods,
        spec.gpus_per_pod,
        spec.max_usd,
        spec.max_hours,
        spec.trials_per_gpu or 1,
    )
    if not quote.usable:
        raise ClusterError(
            f"{quote.text()}\nno GPU of the list can be had: raise max_usd_per_hour, add to gpus, or wait"
        )
    return quote
