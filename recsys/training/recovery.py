"""Recoveries from faults and diagnostics, as data: a change of the config, and whether to rewind.

The owner's plan: out of memory -> batch 1536; instability -> KL weight 0.005 (and, where that was not
enough, half the learning rate); poor convergence -> warm-up epochs; collapse -> free bits. Each has a
limit, so that a trial cannot loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from recsys.bounds import SMALL_BATCH_SIZE
from recsys.training.diagnostics import REFERENCE_EPOCHS, Diagnostic, diagnostic_event
from recsys.training.trial_types import EventKind, RunEvent
from recsys.types import JsonObject

REDUCED_KL_WEIGHT = 0.005
FREE_BITS = 2.0  # nats, total over the latent: the plan's template has the same
WARMUP_EPOCHS = 5  # of a run of 100; shorter runs get their share
# Recoveries from each kind in a trial, at most.
LIMITS = {
    EventKind.OUT_OF_MEMORY: 1,
    EventKind.DIVERGED: 3,
    EventKind.PLATEAU: 1,
    EventKind.COLLAPSE: 2,
}
OUT_OF_MEMORY_MESSAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    # oneDNN, where its allocator was refused (seen under RLIMIT_AS).
    "could not create a primitive",
    "could not create a memory",
)


@dataclass(frozen=True)
class RecoveryAction:
    """``changes`` to the config; ``rewind`` to the last good epoch first; ``action`` describes it."""

    changes: JsonObject
    rewind: bool
    action: str


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is a failed allocation: on the GPU, or by torch, numpy or Python on the CPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        message in str(error).lower() for message in OUT_OF_MEMORY_MESSAGES
    )


def first_line(error: BaseException) -> str:
    """The first line of the message of ``error``, at most 200 characters; its type if it has none."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def recovery_event(diagnostic: Diagnostic, action: RecoveryAction, *, trial: int, epoch: int) -> RunEvent:
    """The event that records a recovery.

    Args:
        diagnostic: Of the fault.
        action: The recovery.
        trial: Its number.
        epoch: The last epoch before it.

    Returns:
        The event, at the current time.
    """
    event = diagnostic_event(diagnostic, trial=trial, epoch=epoch)
    message = f"{diagnostic.kind.value}: {diagnostic.message}"
    return replace(event, kind=EventKind.CONTINGENCY, message=message, action=action.action)


def choose_recovery(
    kind: EventKind, config: Any, *, epoch: int, epochs: int, so_far: Mapping[str, int]
) -> RecoveryAction | None:
    """The recovery from a fault or diagnostic.

    Args:
        kind: Of the diagnostic.
        config: Of the model's family, as it is now.
        epoch: Epochs trained so far.
        epochs: Epochs planned.
        so_far: Recoveries of this trial, counted by the kind's value.

    Returns:
        None where nothing (more) can be done.
    """
    count = so_far.get(kind.value, 0)
    if count >= LIMITS.get(kind, 0):
        return None
    if kind is EventKind.OUT_OF_MEMORY:
        return _reduce_batch(config)
    if kind is EventKind.DIVERGED:
        return _lower_kl(config, again=count > 0)
    if kind is EventKind.PLATEAU:
        return _add_warmup(config, epoch=epoch, epochs=epochs)
    return _raise_free_bits(config)


def _reduce_batch(config: Any) -> RecoveryAction | None:
    if getattr(config, "batch_size", 0) <= SMALL_BATCH_SIZE:
        return None
    return RecoveryAction(
        {"batch_size": SMALL_BATCH_SIZE},
        rewind=True,
        action=f"batch {config.batch_size} -> {SMALL_BATCH_SIZE}, on from the last good epoch",
    )


def _lower_kl(config: Any, *, again: bool) -> RecoveryAction | None:
    changes: JsonObject = {}
    actions = []
    if hasattr(config, "kl_weight") and config.highest_kl_weight() > REDUCED_KL_WEIGHT:
        changes |= {"kl_weight": REDUCED_KL_WEIGHT, "kl_schedule": "constant"}
        actions.append(f"KL weight {config.highest_kl_weight():g} -> {REDUCED_KL_WEIGHT:g}")
    # A weight already that low is not raised, and an epoch is never repeated with an unchanged config.
    if (again or not changes) and hasattr(config, "learning_rate"):
        changes["learning_rate"] = config.learning_rate / 2
        actions.append(f"learning rate {config.learning_rate:g} -> {config.learning_rate / 2:g}")
    if not changes:
        return None
    return RecoveryAction(changes, rewind=True, action=f"{', '.join(actions)}, on from the last good epoch")


def _add_warmup(config: Any, *, epoch: int, epochs: int) -> RecoveryAction | None:
    if not hasattr(config, "warmup_start"):
        return None
    length = max(1, round(WARMUP_EPOCHS * min(epochs / REFERENCE_EPOCHS, 1)))
    return RecoveryAction(
        {"warmup_start": epoch, "warmup_epochs": length},
        rewind=False,
        action=f"{length} warm-up epochs of learning rate added",
    )


def _raise_free_bits(config: Any) -> RecoveryAction | None:
    if not hasattr(config, "free_bits"):
        return None
    nats = max(FREE_BITS, 2 * config.free_bits)
    return RecoveryAction(
        {"free_bits": nats}, rewind=False, action=f"free bits {config.free_bits:g} -> {nats:g}"
    )
