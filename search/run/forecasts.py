"""Forecasts of a run, to be compared with its results: from a GPU's model, then from first epochs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clusters.cluster_info import ClusterInfo
from clusters.forecast import CARDS, Forecast, bandwidth_ms, chain_hours, epoch_hours, forecast
from recsys.types import JsonObject
from search.config.plan import SUBJECT, SearchPlan
from search.config.tracks import search_family
from search.run.budget import Meter
from search.run.projection import Projection, Projector
from search.run.workload import CHAINS, workload_of

MODEL, EPOCHS = "the card's model", "the first epochs"


@dataclass
class ForecastLog:
    """Keeps the forecasts in ``about``, which lies in run.json: a resumed run has those of its start."""

    about: JsonObject
    projector: Projector
    meter: Meter

    @property
    def rows(self) -> list[JsonObject]:
        """One a forecast: made, trials, hours, needed_hours, usd."""
        entries: list[JsonObject] = self.about.setdefault("forecasts", [])
        return entries

    def before(self, plan: SearchPlan, cluster: ClusterInfo | None) -> None:
        """On a rented GPU: the forecast of its model for the plan, at the run's own caps."""
        if cluster is None or self.rows:
            return
        workload, budget = workload_of(plan), self.meter.budget
        coming = None
        if workload is not None:
            coming = forecast(
                workload,
                cluster.gpu,
                gpus=cluster.gpus_per_pod * cluster.pods,
                usd_per_hour=budget.usd_per_hour,
                max_hours=budget.cap_hours,
                max_usd=budget.max_usd,
                trials_per_gpu=cluster.trials_per_gpu or 1,
                network_ratio=cluster.network_ratio,
                chain_ratio=cluster.chain_ratio,
            )
        if coming is not None:
            card = f"{MODEL}, {cluster.gpu}"
            self.rows.append(_row(card, coming, coming.trials, coming.hours, usd=coming.usd))

    def throughput(self, plan: SearchPlan, cluster: ClusterInfo | None, *, ratings: int) -> None:
        """Keep how fast this card was, by the epochs trained so far on ``ratings`` of train."""
        workload = None if cluster is None else workload_of(plan)
        if cluster is None or workload is None or cluster.gpu not in CARDS:
            return
        trained = replace(workload, ratings=ratings)
        chain_epochs = min(plan.epochs, search_family("bayes_mf").most_epochs or plan.epochs)
        measured = {
            "network": (self.projector.epoch_seconds((SUBJECT,)), epoch_hours(trained, cluster.gpu)),
            "chain": (self.projector.epoch_seconds(CHAINS), chain_hours(trained, cluster.gpu) / chain_epochs),
        }
        self.about["throughput"] = {
            kind: seconds / (hours * 3600 * self.projector.lanes.trials_a_card)
            for kind, (seconds, hours) in measured.items()
            if seconds is not None and hours > 0
        }

    def first_epochs(self, now: float) -> None:
        """Once, when the first epochs were trained (Unix seconds): the calibrated forecast."""
        if any(row["made"] == EPOCHS for row in self.rows):
            return
        seen = self.projector.project(now)
        if seen is not None:
            usd = self.meter.usd(now) + (seen.end_hours - seen.used_hours) * self.meter.budget.usd_per_hour
            self.rows.append(_row(EPOCHS, seen, seen.reached, seen.end_hours, usd=usd))


def floor_seconds(plan: SearchPlan, cluster: ClusterInfo | None, *, ratings: int) -> float:
    """Of a network's epoch on ``ratings`` of train, by a rented card's bandwidth; 0 where not known."""
    workload = None if cluster is None else workload_of(plan)
    if cluster is None or workload is None or cluster.gpu not in CARDS:
        return 0.0
    steps = replace(workload, ratings=ratings).steps
    return steps * bandwidth_ms(workload, CARDS[cluster.gpu][1]) / 1000


def _row(made: str, seen: Projection | Forecast, trials: int, hours: float, *, usd: float) -> JsonObject:
    return {"made": made, "trials": trials, "hours": hours, "needed_hours": seen.needed_hours, "usd": usd}
