"""What Prometheus reads, one set for all replicas of a machine.

Every replica listens on the same port, so a scrape reaches any one of them; prometheus_client's
multiprocess mode (values in memory-mapped files in one folder) lets that one answer for all. Latency
buckets lie around the promise of 50 ms. Names are stable: alerts and dashboards are written against them.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05),
    *(0.075, 0.1, 0.25, 0.5, 1.0, 2.5),
)


MARK = ".recsys-metrics"
COUNTER_FILE = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_\d+\.db")


def clear_metrics(folder: Path) -> None:
    """Removes the counter files of an earlier start from a folder that carries our mark, nothing else."""
    if not (folder / MARK).is_file():
        return
    for path in folder.iterdir():
        if COUNTER_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


class ServiceMetrics:
    """``folder`` is shared by the replicas of a machine; None (a test) counts in this process alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                (folder / MARK).touch()
            _drop_dead_process_gauges(folder)
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
            # Ray may have imported prometheus_client before the folder was known.
            values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        newest: dict[str, Any] = {"registry": self.registry, "multiprocess_mode": "mostrecent"}
        self.requests = Counter("recsys_requests", "Answers, by route and status", ["route", "status"], **own)
        self.seconds = Histogram(
            "recsys_request_seconds",
            "Time inside the service, by route, arm and source of the list",
            ["route", "arm", "source"],
            buckets=BUCKETS,
            **own,
        )
        self.fallbacks = Counter(
            "recsys_fallbacks", "Lists that are not what they should have been", ["arm", "stage"], **own
        )
        self.shadows = Counter(
            "recsys_shadow_answers", "Answers computed and kept back", ["arm", "outcome"], **own
        )
        self.feedback = Counter(
            "recsys_feedback", "Feedback, by kind and outcome", ["kind", "outcome"], **own
        )
        self.loads = Counter(
            "recsys_deployments", "Revisions taken into service or refused", ["outcome"], **own
        )
        self.lost = Counter("recsys_exposures_lost", "Exposures that could not be kept", **own)
        self.batches = Counter("recsys_batches", "Turns of the recommender's thread", **own)
        self.batched = Counter("recsys_batched_queries", "Queries answered in those turns", **own)
        self.waiting = Gauge(
            "recsys_exposures_waiting", "Exposures not yet committed", multiprocess_mode="livesum", **own
        )
        self.store = Gauge(
            "recsys_event_store_available",
            "1 while events can be written",
            multiprocess_mode="livemin",
            **own,
        )
        self.replicas = Gauge(
            "recsys_replicas", "Replicas of this machine", multiprocess_mode="livesum", **own
        )
        self.revision = Gauge("recsys_experiment_revision", "Revision served", ["experiment"], **newest)
        self.share = Gauge("recsys_arm_share", "Share of the users", ["experiment", "arm"], **newest)
        self.release = Gauge(
            "recsys_arm_release", "1 for the release in service", ["arm", "release_id"], **newest
        )
        self.replicas.set(1)
        self.store.set(1)

    def text(self) -> bytes:
        """The exposition format, for all replicas."""
        if self._folder is None:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _drop_dead_process_gauges(folder: Path) -> None:
    """Takes out the live gauges of processes that are gone; their counters stay."""
    for path in folder.glob("gauge_live*.db"):
        process = path.stem.rsplit("_", 1)[-1]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            path.unlink(missing_ok=True)
