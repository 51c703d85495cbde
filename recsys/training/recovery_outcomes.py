"""What came of a contingency, filled in when the epochs after it have shown it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recsys.training.trial_types import EpochReport, EventKind, RunEvent

SHOWN_AFTER = 2  # epochs


def fill_outcomes(events: list[RunEvent], reports: Sequence[EpochReport], *, ended: str = "") -> None:
    """Writes outcomes into ``events``, in place. ``ended`` is said of those that never showed."""
    for index, event in enumerate(events):
        if event.kind is not EventKind.CONTINGENCY or event.outcome or event.epoch is None:
            continue
        after = reports[event.epoch :]
        if len(after) >= SHOWN_AFTER or (ended and after):
            events[index] = replace(event, outcome=_shown(reports[: event.epoch], after))
        elif ended:
            events[index] = replace(event, outcome=ended)


def mark_repeated(events: list[RunEvent], kind: EventKind, epoch: int) -> None:
    """Says of responses to ``kind`` made after ``epoch`` that they did not help: it is here again."""
    for index, event in enumerate(events):
        unanswered = event.kind is EventKind.CONTINGENCY and not event.outcome
        if unanswered and event.epoch == epoch and event.message.startswith(f"{kind.value}:"):
            events[index] = replace(event, outcome="it happened again")


def _shown(before: Sequence[EpochReport], after: Sequence[EpochReport]) -> str:
    newest = after[-1]
    words = f"went on: after epoch {newest.epoch} rmse {newest.rmse:.4f}, KL {newest.kl:.3f}"
    if before:
        words += f" (before: rmse {before[-1].rmse:.4f}, KL {before[-1].kl:.3f})"
    return words
