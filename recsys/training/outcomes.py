"""What came of a contingency, filled in when the epochs after it have shown it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recsys.training.trials import EpochReport, EventKind, RunEvent

SHOWN_AFTER = 2  # epochs


def fill_outcomes(events: list[RunEvent], reports: Sequence[EpochReport], *, ended: str = "") -> None:
    """Writes outcomes into ``events``, in place. ``ended`` is said of those that never showed."""
    for place, told in enumerate(events):
        if told.kind is not EventKind.CONTINGENCY or told.outcome or told.epoch is None:
            continue
        after = reports[told.epoch :]
        if len(after) >= SHOWN_AFTER or (ended and after):
            events[place] = replace(told, outcome=_shown(reports[: told.epoch], after))
        elif ended:
            events[place] = replace(told, outcome=ended)


def mark_repeated(events: list[RunEvent], kind: EventKind, epoch: int) -> None:
    """Says of responses to ``kind`` made after ``epoch`` that they did not help: it is here again."""
    for place, told in enumerate(events):
        unanswered = told.kind is EventKind.CONTINGENCY and not told.outcome
        if unanswered and told.epoch == epoch and told.message.startswith(f"{kind.value}:"):
            events[place] = replace(told, outcome="it happened again")


def _shown(before: Sequence[EpochReport], after: Sequence[EpochReport]) -> str:
    newest = after[-1]
    words = f"went on: after epoch {newest.epoch} rmse {newest.rmse:.4f}, KL {newest.kl:.3f}"
    if before:
        words += f" (before: rmse {before[-1].rmse:.4f}, KL {before[-1].kl:.3f})"
    return words
