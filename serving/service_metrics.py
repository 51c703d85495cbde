"""Prometheus metrics, one set for all replicas of a machine.

All replicas listen on one port, so a scrape reaches any of them, which answers for all
(``metric_snapshots.py``). Latency buckets surround the target of 50 ms. Names are stable: alerts and
dashboards depend on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values

from serving.metric_snapshots import MetricSnapshots

BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05),
    *(0.075, 0.1, 0.25, 0.5, 1.0, 2.5),
)


class ServiceMetrics:
    """``folder`` is shared by the replicas of a machine; None counts in this process alone."""

    def __init__(self, folder: Path | None = None) -> None:
        # Even if PROMETHEUS_MULTIPROC_DIR is set, which selects memory-mapped files.
        values.ValueClass = values.MutexValue
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "recsys_requests", "Answers, by route and status", ["route", "status"], **options
        )
        self.seconds = Histogram(
            "recsys_request_seconds",
            "Time inside the service, by route, arm and source of the list",
            ["route", "arm", "source"],
            buckets=BUCKETS,
            **options,
        )
        self.fallbacks = Counter(
            "recsys_fallbacks", "Lists that fell back to popular or stored items", ["arm", "stage"], **options
        )
        self.shadows = Counter(
            "recsys_shadow_answers", "Answers computed in shadow", ["arm", "outcome"], **options
        )
        self.feedback = Counter(
            "recsys_feedback", "Feedback, by kind and outcome", ["kind", "outcome"], **options
        )
        self.loads = Counter("recsys_deployments", "Revisions deployed or refused", ["outcome"], **options)
        self.overloads = Counter(
            "recsys_overloads", "Lists refused or answered from storage at capacity",
            ["outcome"], **options,
        )  # fmt: skip
        self.lost = Counter("recsys_exposures_lost", "Exposures that could not be stored", **options)
        self.batches = Counter("recsys_batches", "Batches of the recommender's thread", **options)
        self.batched = Counter("recsys_batched_queries", "Queries in those batches", **options)
        self.waiting = Gauge("recsys_exposures_waiting", "Exposures not yet committed", **options)
        self.store = Gauge(
            "recsys_event_store_available",
            "1 while events can be written",
            **options,
        )
        self.replicas = Gauge("recsys_replicas", "Replicas of this machine", **options)
        self.revision = Gauge("recsys_experiment_revision", "Revision served", ["experiment"], **options)
        self.share = Gauge("recsys_arm_share", "Share of the users", ["experiment", "arm"], **options)
        self.release = Gauge(
            "recsys_arm_release", "1 for the release in service", ["arm", "release_id"], **options
        )
        self._request_children: dict[tuple[str, int, str, str], tuple[Counter, Histogram]] = {}
        self.replicas.set(1)
        self.store.set(1)
        self.snapshots = None if folder is None else MetricSnapshots(folder, self.registry)
        self.save()

    def count_request(self, route: str, status: int, arm: str, source: str, *, seconds: float) -> None:
        """Count an answer; metric children are cached by their labels."""
        key = (route, status, arm, source)
        children = self._request_children.get(key)
        if children is None:
            children = (
                self.requests.labels(route, str(status)),
                self.seconds.labels(route, arm, source),
            )
            self._request_children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def save(self) -> None:
        """Save a snapshot for the other replicas."""
        if self.snapshots is not None:
            self.snapshots.save()

    def deployment_changed(self, revision: int) -> None:
        """Save the gauges of shares and releases as those of ``revision``, which win over older ones'."""
        if self.snapshots is not None:
            self.snapshots.revision = revision
            self.save()

    def text(self) -> bytes:
        """The metrics of all replicas in the exposition format."""
        if self.snapshots is None:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        merged.register(self.snapshots)
        return generate_latest(merged)
