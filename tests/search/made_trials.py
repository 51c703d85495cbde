"""Trials as a search leaves them: formula, template, searched, pruned and failed, drawn at random."""

from __future__ import annotations

import numpy as np

from recsys.training.trial_types import EpochReport, EventKind, RunEvent, TrialResult, TrialSpec, TrialStatus

START = 1_760_000_000.0
WIDTHS = ("256x128", "384x192", "512x256x128", "640x384x192")


def make_trial(number: int, *, seed: int = 0, epochs: int = 20) -> TrialResult:
    """Trial 0 is the formula, 1 the template, then the search; some are pruned, one fails."""
    random = np.random.default_rng((seed, number))
    kind = "formula" if number == 0 else "template" if number == 1 else "search"
    config = {
        "factors": int(random.integers(8, 25) * 8) if number > 1 else (150, 200)[number],
        "hidden": WIDTHS[int(random.integers(4))] if number > 1 else WIDTHS[2 + number],
        "dropout": float(np.round(random.uniform(0.1, 0.6), 3)) if number > 1 else (0.4, 0.38)[number],
        "learning_rate": float(10 ** random.uniform(-3.7, -2.3)) if number > 1 else (5e-4, 4e-4)[number],
        "kl_weight": float(random.uniform(0.002, 0.015)) if number > 1 else (0.01, 0.008)[number],
        "normalisation": ("batch", "layer")[int(random.integers(2))] if number > 1 else "batch",
    }
    floor = (
        (1.01, 0.97)[number]
        if number < 2
        else (
            0.905
            + 0.05 * abs(config["dropout"] - 0.35)
            + 0.03 * (config["normalisation"] == "batch")
            + 0.02 * abs(np.log10(config["learning_rate"]) + 3)
            + random.normal(0, 0.004)
        )
    )
    status = TrialStatus.FINISHED
    if number > 1 and number % 3 == 0:
        status, epochs = TrialStatus.PRUNED, int(random.integers(3, 9))
    if number == 7:
        return TrialResult(
            spec=TrialSpec(7, "trial 7", "hybrid_vae", config, 20, 7),
            status=TrialStatus.FAILED,
            best_epoch=None,
            loss=None,
            rmse=None,
            mae=None,
            kl=0.0,
            parameters=0,
            seconds=1.5,
            folder="trials/0007",
            error="RuntimeError: the loss was NaN three times",
        )
    reports = []
    for epoch in range(1, epochs + 1):
        rmse = floor + 0.25 * np.exp(-epoch / 4) + max(0, epoch - 14) * 0.0015 + random.normal(0, 0.0008)
        reports.append(
            EpochReport(
                epoch=epoch,
                seconds=0.6,
                train_loss=float(rmse**2 - 0.02 * epoch / 4),
                train_rmse=float(rmse - 0.008 * epoch),
                loss=float(rmse**2 + 0.0008),
                rmse=float(rmse),
                mae=float(rmse * 0.79),
                kl=0.08,
                kl_weight=config["kl_weight"],
                learning_rate=config["learning_rate"],
                gradient_norm=1.4,
            )
        )
    best = min(reports, key=lambda report: report.rmse)
    events: tuple[RunEvent, ...] = ()
    if number == 4:
        events = (
            RunEvent(EventKind.GAP, START + 50, 4, 16, 0.171, 0.15, "train/valid gap above the threshold"),
            RunEvent(
                EventKind.CONTINGENCY,
                START + 51,
                4,
                16,
                message="training was unstable",
                action="back to epoch 12 with KL weight 0.005",
                outcome="rmse fell from 0.98 to 0.94",
            ),
        )
    return TrialResult(
        spec=TrialSpec(
            number,
            kind if number < 2 else f"trial {number}",
            "hybrid_vae",
            config,
            20,
            number,
            prunable=number > 1,
            origin=kind,
        ),
        status=status,
        best_epoch=best.epoch,
        loss=best.loss,
        rmse=best.rmse,
        mae=best.mae,
        kl=best.kl,
        parameters=640_000 + 900 * config["factors"],
        seconds=0.6 * epochs,
        folder=f"trials/{number:04d}",
        reports=tuple(reports),
        events=events,
    )
