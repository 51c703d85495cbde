"""The Ray that a search runs on: one started here and ended with it, or the one RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

# Tune's own loggers, signal handler and snapshots are off: the run's folder holds all that is needed.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
SMALLEST_STORE = 200_000_000
STARTS = 3


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many run at once."""

    concurrency: int
    cpus: float
    gpus: float
    nodes: int
    address: str

    def described(self) -> str:
        where = "this machine" if self.address == "local" else f"the Ray cluster ({self.nodes} nodes)"
        each = f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        return f"{self.concurrency} trials at once on {where}, {each} each"


@contextmanager
def ray_cluster(*, concurrency: int | None, gpus_per_trial: float, data_bytes: int) -> Iterator[Resources]:
    """Ray for the length of a search. ``data_bytes`` go into its object store once."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    remote = bool(os.environ.get("RAY_ADDRESS"))
    cores = len(os.sched_getaffinity(0))
    if remote:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        at_once = concurrency or max(2, cores // 2)
        start_here(cpus=max(at_once, cores), store=max(SMALLEST_STORE, 2 * data_bytes))
    try:
        yield _resources(concurrency, gpus_per_trial=gpus_per_trial, remote=remote)
    finally:
        ray.shutdown()


def start_here(*, cpus: int, store: int) -> None:
    """A Ray of our own. It gives up on itself after 30 seconds, which a busy machine may need: try again."""
    for attempt in range(STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=store,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:
            ray.shutdown()
            if "timed out" not in str(error) or attempt == STARTS - 1:
                raise


def _resources(concurrency: int | None, *, gpus_per_trial: float, remote: bool) -> Resources:
    total = ray.cluster_resources()
    cpus, gpus = float(total.get("CPU", 1.0)), float(total.get("GPU", 0.0))
    each_gpu = gpus_per_trial if gpus else 0.0
    if concurrency is None:
        concurrency = max(1, int(gpus / each_gpu)) if each_gpu else max(2, int(cpus // 2))
    elif each_gpu:
        concurrency = max(1, min(concurrency, int(gpus / each_gpu)))
    return Resources(
        concurrency=concurrency,
        cpus=float(max(1, int(cpus // concurrency))),
        gpus=each_gpu,
        nodes=len([node for node in ray.nodes() if node.get("Alive")]),
        address=os.environ["RAY_ADDRESS"] if remote else "local",
    )
