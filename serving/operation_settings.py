"""Settings of the operations process: results, drift and roll-outs."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.domain import ExperimentState
from serving.experiments.experiment_metrics import DEFAULT_METRICS, Metric, MetricSet, metric_set
from serving.experiments.guardrails import Limits


@dataclass(frozen=True)
class OperationSettings:
    """A user's outcome is final ``window_seconds`` after their first exposure. ``metrics`` define conversions
    (accuracy is always measured); the first is an arm's hit rate. ``segments`` are columns of the user table
    that results are broken down by, besides activity."""

    window_seconds: float = 86_400.0
    tick_seconds: float = 1.0
    limits: Limits = field(default_factory=Limits)
    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    segments: tuple[str, ...] = ()

    def metrics_of(self, state: ExperimentState) -> MetricSet:
        """The experiment's own metrics, or the deployment's."""
        if state.metrics is not None:
            return metric_set(state.metrics)
        return MetricSet(self.metrics, self.limits.primary)
