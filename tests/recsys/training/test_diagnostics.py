"""The rules at their thresholds, and that a sign is told once, when it begins."""

from __future__ import annotations

import math
from dataclasses import replace

from recsys.training.diagnostics import DiagnosticMonitor, diverged, plateau_rule
from recsys.training.trial_types import EpochReport, EventKind

CALM = EpochReport(epoch=1, seconds=1, train_loss=0.8, train_rmse=0.9, loss=0.9, rmse=0.95, mae=0.7, kl=0.2)


def event(*reports: EpochReport, epochs: int = 100, latent: bool = True) -> list[EventKind]:
    watch = DiagnosticMonitor(epochs=epochs, latent=latent)
    signs = []
    for count in range(1, len(reports) + 1):
        signs += [sign.kind for sign in watch.update(reports[:count])]
    return signs


def test_calm_says_nothing() -> None:
    assert event(CALM, replace(CALM, loss=0.8)) == []


def test_each_sign_at_its_threshold() -> None:
    above = {
        EventKind.GAP: replace(CALM, rmse=1.0501),
        EventKind.COLLAPSE: replace(CALM, kl=0.0099),
        EventKind.GRADIENT: replace(CALM, gradient_norm=10.01),
        EventKind.GPU_MEMORY: replace(CALM, memory_share=0.901),
    }
    at = {
        EventKind.GAP: replace(CALM, rmse=1.0499),
        EventKind.COLLAPSE: replace(CALM, kl=0.01, active_latents=0.1),
        EventKind.GRADIENT: replace(CALM, gradient_norm=10.0),
        EventKind.GPU_MEMORY: replace(CALM, memory_share=0.9),
    }
    for kind, report in above.items():
        assert event(report) == [kind]
        assert event(at[kind]) == []
    assert event(replace(CALM, active_latents=0.09)) == [EventKind.COLLAPSE]
    assert event(replace(CALM, kl=0.0), latent=False) == []


def test_a_sign_is_told_when_it_begins_and_again_after_a_pause() -> None:
    wide = replace(CALM, rmse=1.2)
    assert event(wide, wide, CALM, wide) == [EventKind.GAP, EventKind.GAP]


def test_plateau_needs_five_stale_epochs_before_epoch_twenty() -> None:
    falling = [replace(CALM, loss=2 - 0.01 * epoch) for epoch in range(30)]
    stale = [replace(CALM, loss=1.5)] * 5
    assert event(*falling[:10], *[replace(CALM, loss=falling[9].loss)] * 5) == [EventKind.PLATEAU]
    assert event(*falling[:10], *[replace(CALM, loss=falling[9].loss)] * 4) == []
    assert event(*falling[:10], *[replace(CALM, loss=falling[9].loss - 0.001)] * 5) == []
    assert event(*falling[:20], *stale) == []


def test_the_plateau_rule_shrinks_with_the_run() -> None:
    assert [plateau_rule(epochs) for epochs in (150, 100, 50, 20, 10)] == [
        (5, 20),
        (5, 20),
        (2, 10),
        (2, 4),
        (2, 3),
    ]


def test_diverging_is_not_finite_or_far_above_the_best_rmse_or_train_loss() -> None:
    assert diverged(CALM, []) is None
    assert diverged(replace(CALM, rmse=1.9), [CALM]) is None
    assert diverged(replace(CALM, rmse=1.91), [CALM]) is not None
    assert diverged(replace(CALM, train_loss=3.2), [CALM], has_valid=False) is None
    assert diverged(replace(CALM, train_loss=3.21), [CALM], has_valid=False) is not None
    for bad in (math.nan, math.inf):
        assert diverged(replace(CALM, train_loss=bad), []) is not None
        assert diverged(replace(CALM, rmse=bad), []) is not None
    assert diverged(replace(CALM, rmse=math.nan), [CALM], has_valid=False) is None


def test_a_large_kl_alone_is_no_divergence() -> None:
    assert diverged(replace(CALM, loss=900.0, kl=9e4), [CALM]) is None
