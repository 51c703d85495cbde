"""Outcomes of recoveries, filled in once enough epochs have followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recsys.training.trial_types import EpochReport, EventKind, RunEvent

EPOCHS_TO_JUDGE = 2  # epochs


def fill_outcomes(events: list[RunEvent], reports: Sequence[EpochReport], *, ended: str = "") -> None:
    """Fills in the outcome of each recovery that enough epochs have followed.

    Args:
        events: Of the trial; changed in place.
        reports: All epochs so far.
        ended: Where the trial has ended, the outcome of recoveries that no epoch followed.
    """
    for index, event in enumerate(events):
        if event.kind is not EventKind.CONTINGENCY or event.outcome or event.epoch is None:
            continue
        after = reports[event.epoch :]
        if len(after) >= EPOCHS_TO_JUDGE or (ended and after):
            events[index] = replace(event, outcome=_outcome(reports[: event.epoch], after))
        elif ended:
            events[index] = replace(event, outcome=ended)


def mark_repeated(events: list[RunEvent], kind: EventKind, epoch: int) -> None:
    """Marks recoveries after which the same fault came back at once.

    Args:
        events: Of the trial; changed in place.
        kind: Of the fault.
        epoch: The last good epoch.
    """
    for index, event in enumerate(events):
        pending = event.kind is EventKind.CONTINGENCY and not event.outcome
        if pending and event.epoch == epoch and event.message.startswith(f"{kind.value}:"):
            events[index] = replace(event, outcome="it happened again")


def _outcome(before: Sequence[EpochReport], after: Sequence[EpochReport]) -> str:
    newest = after[-1]
    outcome = f"went on: after epoch {newest.epoch} rmse {newest.rmse:.4f}, KL {newest.kl:.3f}"
    if before:
        outcome += f" (before: rmse {before[-1].rmse:.4f}, KL {before[-1].kl:.3f})"
    return outcome
