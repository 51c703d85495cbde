"""The Ray that a search runs on: one started here and ended with it, or the one that ``--cluster`` joins.

RAY_ADDRESS, which a shell may hold for other work, is not heeded: an embedded Ray is local, and
``clusters.launch`` names the cluster to join in ``JOIN_VARIABLE``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from recsys.errors import InputError
from recsys.local_ray import start_local_ray
from recsys.machine import usable_cores
from recsys.types import JsonObject
from search.sampling.lanes import Lanes, NodeResources, make_lanes
from search.tune import ray_internals

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
JOIN_VARIABLE = "RECSYS_RAY_ADDRESS"


@dataclass(frozen=True)
class Resources:
    """How many trials run at once, with what, and where."""

    lanes: Lanes
    nodes: int
    address: str

    def described(self) -> str:
        where = "this machine" if self.address == "local" else f"the Ray cluster ({self.nodes} nodes)"
        return self.lanes.text(f" on {where}")

    def shown(self) -> JsonObject:
        """What a run's results say of it."""
        lanes = {lane.name: vars(lane) for lane in (self.lanes.cpu, self.lanes.gpu) if lane is not None}
        return {"nodes": self.nodes, "address": self.address, "trials_at_once": lanes}


@contextmanager
def ray_cluster(*, concurrency: int | None, gpus_per_trial: float, data_bytes: int) -> Iterator[Resources]:
    """Ray for the length of a search. ``data_bytes`` go into its object store once."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    address = os.environ.get(JOIN_VARIABLE, "")
    cores = usable_cores()
    with without_ray_address():
        if address:
            join(address)
        else:
            at_once = concurrency or max(2, cores // 2)
            ray_internals.check_names()
            start_local_ray(cpus=max(at_once, cores), store_bytes=max(SMALLEST_STORE, 2 * data_bytes))
        try:
            ray_internals.check_key_value_store()
            yield _resources(concurrency, gpus_per_trial=gpus_per_trial, address=address)
        finally:
            ray.shutdown()


@contextmanager
def without_ray_address() -> Iterator[None]:
    """RAY_ADDRESS is somebody else's: out of the environment while Ray is up, and back afterwards."""
    address = os.environ.pop("RAY_ADDRESS", None)
    try:
        yield
    finally:
        if address is not None:
            os.environ["RAY_ADDRESS"] = address


def join(address: str) -> None:
    """Connect to the cluster at ``address``.

    Raises:
        InputError: Nobody answers there.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"no Ray cluster can be joined at {address}: {reason}; start it, or leave out --cluster. Where "
            f"it asks for a token (RAY_AUTH_MODE=token at its head), set RAY_AUTH_TOKEN here to that one; "
            f"RAY_AUTH_MODE is {os.environ.get('RAY_AUTH_MODE') or 'not set'} here"
        ) from None


def check_join() -> None:
    """Join the cluster that ``--cluster`` names and leave it again, before anything is made for a run.

    Raises:
        InputError: It cannot be joined.
    """
    address = os.environ.get(JOIN_VARIABLE, "")
    if address:
        with without_ray_address():
            try:
                join(address)
            finally:
                ray.shutdown()


def _resources(concurrency: int | None, *, gpus_per_trial: float, address: str) -> Resources:
    counted = [node.get("Resources", {}) for node in ray.nodes() if node.get("Alive")]
    nodes = [NodeResources(float(node.get("CPU", 0.0)), float(node.get("GPU", 0.0))) for node in counted]
    lanes = make_lanes(nodes, concurrency=concurrency, gpus_per_trial=gpus_per_trial)
    return Resources(lanes, len(nodes), address or "local")
