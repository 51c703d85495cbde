"""Training diagnostics: pure rules over a trial's epoch reports, as the owner's plan lists them.

A diagnostic is reported when it begins, not again while it lasts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsys.training.trial_types import EpochReport, EventKind, RunEvent

LARGEST_GAP = 0.15  # stars
LARGEST_GRADIENT = 10.0  # norm before clipping
LARGEST_MEMORY_SHARE = 0.9
LEAST_KL = 0.01  # nats, mean over latent dimensions
LEAST_ACTIVE = 0.1  # share of latent dimensions
LEAST_PROGRESS = 1e-4  # of valid loss
DIVERGED_TIMES = 4.0  # squared error on valid, or the loss on train, over its best so far
# The plan's rule is for runs of about 100 epochs: stale for 5 before epoch 20.
REFERENCE_EPOCHS, PLATEAU_EPOCHS, PLATEAU_BEFORE = 100, 5, 20


@dataclass(frozen=True)
class Diagnostic:
    """A rule that fired: the metric's ``value`` and the ``threshold`` that it crossed."""

    kind: EventKind
    value: float
    threshold: float
    message: str


def plateau_rule(epochs: int) -> tuple[int, int]:
    """Limits of the plateau rule, scaled down for runs shorter than the plan's 100 epochs.

    Args:
        epochs: Planned.

    Returns:
        Epochs without progress that fire it, and the last epoch at which it may fire.
    """
    share = min(epochs / REFERENCE_EPOCHS, 1.0)
    stale = max(2, round(PLATEAU_EPOCHS * share))
    return stale, max(stale + 1, math.ceil(PLATEAU_BEFORE * share))


def plateau(reports: Sequence[EpochReport], epochs: int) -> Diagnostic | None:
    """No progress of valid loss for several early epochs.

    Args:
        reports: All so far.
        epochs: Planned.

    Returns:
        The diagnostic if the rule fires, as with all rules.
    """
    stale, last = plateau_rule(epochs)
    if not stale < len(reports) <= last:
        return None
    before = min(report.loss for report in reports[:-stale])
    since = min(report.loss for report in reports[-stale:])
    if since <= before - LEAST_PROGRESS:
        return None
    return Diagnostic(
        EventKind.PLATEAU,
        before - since,
        LEAST_PROGRESS,
        f"valid loss has not fallen by {LEAST_PROGRESS:g} for {stale} epochs, before epoch {last + 1}",
    )


def collapse(report: EpochReport) -> Diagnostic | None:
    """Posterior collapse: KL near 0, or hardly any active latent dimension."""
    if report.kl < LEAST_KL:
        return Diagnostic(
            EventKind.COLLAPSE, report.kl, LEAST_KL, "KL is near 0: the latent carries no information"
        )
    if report.active_latents < LEAST_ACTIVE:
        message = f"{report.active_latents:.0%} of latent dimensions are active"
        return Diagnostic(EventKind.COLLAPSE, report.active_latents, LEAST_ACTIVE, message)
    return None


def gap(report: EpochReport) -> Diagnostic | None:
    """Overfitting: rmse on valid far above rmse on train."""
    if not report.gap > LARGEST_GAP:
        return None
    return Diagnostic(EventKind.GAP, report.gap, LARGEST_GAP, "rmse on valid is that far above rmse on train")


def gradient(report: EpochReport) -> Diagnostic | None:
    """A large gradient norm before clipping."""
    if not report.gradient_norm > LARGEST_GRADIENT:
        return None
    return Diagnostic(
        EventKind.GRADIENT, report.gradient_norm, LARGEST_GRADIENT, "gradient norm before clipping"
    )


def memory(report: EpochReport) -> Diagnostic | None:
    """The GPU's memory nearly full."""
    if not report.memory_share > LARGEST_MEMORY_SHARE:
        return None
    return Diagnostic(
        EventKind.GPU_MEMORY, report.memory_share, LARGEST_MEMORY_SHARE, "share of GPU memory in use"
    )


def diverged(
    report: EpochReport, before: Sequence[EpochReport], *, has_valid: bool = True
) -> Diagnostic | None:
    """Divergence: a metric that is not finite, or far above its best so far.

    Judged by rmse and the training loss. The KL of valid is left out: under recalibrated batch statistics it
    swings by orders of magnitude while the predictions improve (measured: three false alarms in one run).

    Args:
        report: The newest epoch.
        before: The epochs accepted so far.
        has_valid: False in a refit, where nothing is validated.

    Returns:
        The diagnostic, whose ``threshold`` is infinite where a metric is not a finite number.
    """
    if not math.isfinite(report.train_loss + report.train_rmse):
        return Diagnostic(
            EventKind.DIVERGED, report.train_loss, math.inf, "train loss is not a finite number"
        )
    if has_valid and not math.isfinite(report.rmse):
        return Diagnostic(EventKind.DIVERGED, report.rmse, math.inf, "valid rmse is not a finite number")
    limit = DIVERGED_TIMES * min((each.train_loss for each in before), default=math.inf)
    if not has_valid and report.train_loss > limit:
        message = f"train loss is {DIVERGED_TIMES:g} x its best"
        return Diagnostic(EventKind.DIVERGED, report.train_loss, limit, message)
    factor = math.sqrt(DIVERGED_TIMES)
    limit = factor * min((each.rmse for each in before), default=math.inf)
    if has_valid and report.rmse > limit:
        return Diagnostic(EventKind.DIVERGED, report.rmse, limit, f"valid rmse is {factor:g} x its best")
    return None


class DiagnosticMonitor:
    """Applies the rules to a growing list of reports; each diagnostic once, when it begins."""

    def __init__(self, *, epochs: int, latent: bool, ongoing: Sequence[str] = ()) -> None:
        """Starts with no reports.

        Args:
            epochs: Planned.
            latent: Whether the model has one; without it nothing can collapse.
            ongoing: Kinds that already hold, of a resumed trial.
        """
        self.epochs, self.latent = epochs, latent
        self.ongoing = set(ongoing)

    def update(self, reports: Sequence[EpochReport]) -> list[Diagnostic]:
        """Applies the rules to the newest report.

        Args:
            reports: All so far.

        Returns:
            The diagnostics that begin with it.
        """
        newest = reports[-1]
        rules: list[Callable[[], Diagnostic | None]] = [
            lambda: plateau(reports, self.epochs),
            lambda: collapse(newest) if self.latent else None,
            lambda: gap(newest),
            lambda: gradient(newest),
            lambda: memory(newest),
        ]
        diagnostics = [diagnostic for rule in rules if (diagnostic := rule()) is not None]
        new = [diagnostic for diagnostic in diagnostics if diagnostic.kind.value not in self.ongoing]
        self.ongoing = {diagnostic.kind.value for diagnostic in diagnostics}
        return new


def diagnostic_event(diagnostic: Diagnostic, *, trial: int, epoch: int) -> RunEvent:
    """The event that records a diagnostic.

    Args:
        diagnostic: That fired.
        trial: Its number.
        epoch: At which it fired.

    Returns:
        The event, at the current time.
    """
    return RunEvent(
        kind=diagnostic.kind,
        at=time.time(),
        trial=trial,
        epoch=epoch,
        value=diagnostic.value,
        threshold=diagnostic.threshold,
        message=diagnostic.message,
    )
