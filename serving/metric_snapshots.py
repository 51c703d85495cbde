"""Prometheus metrics of several processes in one scrape.

Each replica counts in memory and saves a snapshot of its values to a file in a shared folder, by an atomic
rename. A scrape merges the answering process's values with the files of the others. With a full disk or a
missing folder the others' values become stale. (prometheus_client's multiprocess mode writes to memory-mapped
files, where a full disk kills the process by SIGBUS.)
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from recsys.io import write_atomic

log = logging.getLogger(__name__)
MARK = ".recsys-metrics"
# Our snapshots, and the memory-mapped files of older versions.
VALUE_FILE = re.compile(
    r"\.?process_\d+\.json(\.\d+)?(\.part)?|(counter|histogram|summary|gauge_[a-z]+)_\d+\.db"
)

# Gauges of live processes, with how they are merged; of other gauges those of the newest revision are used.
LIVE_GAUGES: dict[str, Callable[[list[float]], float]] = {
    "recsys_exposures_waiting": sum,
    "recsys_replicas": sum,
    "recsys_event_store_available": min,
}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def clear_metrics(folder: Path) -> None:
    """Remove the snapshots of an earlier start from a folder with our mark, and nothing else."""
    if not (folder / MARK).is_file():
        return
    for path in folder.iterdir():
        if VALUE_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


class MetricSnapshots:
    """This process's snapshot in ``folder``, merged with those of the other processes."""

    def __init__(self, folder: Path, registry: CollectorRegistry) -> None:
        self._path = folder / f"process_{os.getpid()}.json"
        self._registry = registry
        self._failed = False
        self.revision = 0  # that the gauges beside LIVE_GAUGES show
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARK).touch()

    def save(self) -> None:
        """Save the current values. Never raises."""
        try:
            write_atomic(self._path, json.dumps(self._snapshot()).encode(), sync=False)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("metrics cannot be saved in %s: %s", self._path.parent, error.strerror)
            self._failed = True

    def collect(self) -> Iterator[Metric]:
        """Merged metric families (the interface of a prometheus_client collector)."""
        snapshots = [self._snapshot(), *self._others()]
        families: dict[str, tuple[str, str, list[tuple[dict[str, Any], Samples]]]] = {}
        for snapshot in snapshots:
            for name, kind, documentation, samples in snapshot["families"]:
                values = {(sample, tuple(map(tuple, labels))): value for sample, labels, value in samples}
                families.setdefault(name, (kind, documentation, []))[2].append((snapshot, values))
        for name, (kind, documentation, parts) in families.items():
            metric = Metric(name, documentation, kind)
            for (sample, labels), value in _merged(name, kind, parts).items():
                metric.add_sample(sample, dict(labels), value)
            yield metric

    def _snapshot(self) -> dict[str, Any]:
        families = [
            [
                family.name,
                family.type,
                family.documentation,
                [
                    [sample.name, list(sample.labels.items()), sample.value]
                    for sample in family.samples
                    if not sample.name.endswith("_created")
                ],
            ]
            for family in self._registry.collect()
        ]
        return {"pid": os.getpid(), "revision": self.revision, "families": families}

    def _others(self) -> Iterable[dict[str, Any]]:
        for path in sorted(self._path.parent.glob("process_*.json")):
            if path == self._path:
                continue
            try:
                snapshot = json.loads(path.read_text())
                if isinstance(snapshot["families"], list) and isinstance(snapshot["pid"], int):
                    yield snapshot
            except (OSError, ValueError, KeyError, TypeError):
                continue  # torn, damaged or just removed


def _merged(name: str, kind: str, parts: list[tuple[dict[str, Any], Samples]]) -> Samples:
    if kind == "gauge" and name not in LIVE_GAUGES:
        return max(parts, key=lambda part: (part[0].get("revision", 0), part[0]["pid"]))[1]
    if kind == "gauge":
        parts = [part for part in parts if _alive(part[0]["pid"])]
    merge = LIVE_GAUGES.get(name, sum)
    values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for _, samples in parts:
        for key, value in samples.items():
            values.setdefault(key, []).append(value)
    return {key: merge(collected) for key, collected in values.items()}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
