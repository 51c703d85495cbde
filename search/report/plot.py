"""The progress plot of the last notification, as PNG: chat rooms do not show SVG or HTML."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from recsys.training.trial_types import TrialResult, TrialStatus

BLUE, GREY, RED = "#1a5fb8", "#9aa0a8", "#a8481c"
COLOURS = {
    TrialStatus.FINISHED: BLUE,
    TrialStatus.PRUNED: GREY,
    TrialStatus.STOPPED: GREY,
    TrialStatus.FAILED: RED,
}


def progress_png(trials: Sequence[TrialResult]) -> bytes | None:
    """Each trial's best rmse and the best so far, 800 x 450 pixels; None when no trial has a figure."""
    scored = sorted(
        (trial for trial in trials if trial.rmse is not None and math.isfinite(trial.rmse)),
        key=lambda trial: trial.spec.number,
    )
    if not scored:
        return None
    from matplotlib.figure import Figure  # not pyplot, which keeps global state

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    numbers = [trial.spec.number for trial in scored]
    values = [trial.rmse for trial in scored if trial.rmse is not None]
    axes.scatter(numbers, values, c=[COLOURS[trial.status] for trial in scored], s=28, zorder=3)
    axes.step(
        numbers, [min(values[: n + 1]) for n in range(len(values))], where="post", color=BLUE, alpha=0.6
    )
    best = min(scored, key=lambda trial: trial.rmse or math.inf)
    axes.set_title(
        f"{len(scored)} trials, best: rmse {best.rmse:.4f}, loss {best.loss:.4f} on valid", loc="left"
    )
    axes.set_xlabel("trial")
    axes.set_ylabel("rmse on valid, stars")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
