"""The plan that a run follows: of a resumed run with its changes, on a cluster's GPUs, and its budget."""

from __future__ import annotations

import math

from clusters.cluster_info import ClusterInfo
from recsys.bounds import SMALL_BATCH_SIZE
from recsys.errors import InputError
from recsys.types import JsonObject
from search.config.plan import SearchPlan, make_plan
from search.run.budget import LEAST_FINISH_SECONDS, Budget
from search.storage.run_dir import RunFolder

# What a resumed run may change: its limits and its machines, never what defines its trials.
RESUMABLE = (
    "max_cost",
    "max_hours",
    "price",
    "nodes",
    "concurrency",
    "refit",
    "checkpoint_seconds",
    "silence_seconds",
    "target_loss",
    "plateau",
    "at",
)


def resumed_plan(folder: RunFolder, changes: JsonObject) -> SearchPlan:
    """The plan of a run's folder with ``changes``; what defines its trials cannot change."""
    for name in changes:
        if name.partition(".")[0] not in RESUMABLE:
            raise InputError(
                f"--resume goes on with the run's own plan, so {name} stays as it is; "
                f"what may change is: {', '.join(RESUMABLE)}"
            )
    settings = folder.read_plan().model_dump(mode="json")
    return make_plan(settings, changes)


def on_this_cluster(plan: SearchPlan, facts: ClusterInfo | None) -> SearchPlan:
    """``plan`` with the settings of its rented GPUs: trials per GPU, and the batch of the GPU's row."""
    if facts is None:
        return plan
    share = None if facts.trials_per_gpu is None else 1 / max(facts.trials_per_gpu, 1)
    small = plan.small_batch or facts.batch_size == SMALL_BATCH_SIZE
    return plan.model_copy(update={"gpus_per_trial": share, "small_batch": small})


def refuse_small_batch(plan: SearchPlan, facts: ClusterInfo | None) -> None:
    """Batch 1536 is an exception to the bounds for small GPUs: only such a GPU's row may ask for it."""
    if plan.small_batch and (facts is None or facts.batch_size != SMALL_BATCH_SIZE):
        where = "here is no rented GPU" if facts is None else f"this GPU's row asks for {facts.batch_size}"
        raise InputError(
            f"small_batch is true, but batch {SMALL_BATCH_SIZE} is only for a GPU whose own row asks for it, "
            f"and {where}: leave small_batch out"
        )


def budget_of(plan: SearchPlan) -> Budget:
    """The caps of ``plan``; at least ``LEAST_FINISH_SECONDS`` are kept back from them."""
    return Budget(
        price_usd=plan.price,
        nodes=plan.nodes,
        max_usd=plan.max_cost,
        max_hours=plan.max_hours,
        finish_hours=max(60 * plan.finish_minutes, LEAST_FINISH_SECONDS) / 3600,
    )


def reserve_notes(plan: SearchPlan) -> list[str]:
    """A line where a cap binds and ``finish_minutes`` is less than ending the workers may take."""
    if 60 * plan.finish_minutes >= LEAST_FINISH_SECONDS or math.isinf(budget_of(plan).cap_hours):
        return []
    return [
        f"finish_minutes is {plan.finish_minutes:g}, but ending the workers alone can take half a minute: "
        f"{LEAST_FINISH_SECONDS:.0f} s are kept back from the cap"
    ]
