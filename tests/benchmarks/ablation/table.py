"""Finished rungs as a markdown table and as a plot, means with 95% t intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.metrics.rating import loss
from tests.benchmarks.ablation.measure import Measure
from tests.benchmarks.ablation.rungs import LADDER
from tests.benchmarks.dot_plot import MeanInterval, dot_plot


@dataclass(frozen=True)
class TableRow:
    title: str
    reference: bool
    valid: MeanInterval
    test: MeanInterval
    test_loss: MeanInterval
    refit: MeanInterval
    epochs: float
    kl: float
    parameters: int
    seeds: int


def table_rows(measures: Sequence[Measure]) -> list[TableRow]:
    """One a rung, in the ladder's order."""
    result = []
    for rung in LADDER:
        own = [entry for entry in measures if entry.rung == rung.name]
        if not own:
            continue
        result.append(
            TableRow(
                title=rung.title if rung.reference or rung.name == "formula" else f"+ {rung.title}",
                reference=rung.reference,
                valid=MeanInterval.of([entry.valid for entry in own]),
                test=MeanInterval.of([entry.test for entry in own]),
                test_loss=MeanInterval.of([loss(entry.test**2, entry.kl) for entry in own]),
                refit=MeanInterval.of([entry.test_refit for entry in own]),
                epochs=float(np.mean([entry.epochs for entry in own])),
                kl=float(np.mean([entry.kl for entry in own])),
                parameters=own[0].parameters,
                seeds=len(own),
            )
        )
    return result


def markdown(measures: Sequence[Measure], *, floor: float | None = None) -> str:
    """``floor`` is the rmse of the best possible predictor, where the data's maker knows it. ``loss`` is
    MSE + 0.01 KL, with the KL of valid."""
    rows = [
        "| rung | valid rmse | test rmse | test loss | test rmse, refit with valid | KL | epochs "
        "| parameters | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {line.title} | {line.valid} | {line.test} | {line.test_loss} | {line.refit} | {line.kl:.3f} "
        f"| {line.epochs:.0f} | {line.parameters:,} | {line.seeds} |"
        for line in table_rows(measures)
    ]
    if floor is not None:
        rows.append(f"| noise floor: no model can be below it | | {floor:.4f} | {floor**2:.4f} | | | | | |")
    return "\n".join(rows) + "\n"


WORST = 1.05  # stars: what errs more is drawn at the edge, its figure beside it


def svg(measures: Sequence[Measure], *, title: str) -> str:
    """Test rmse after the refit: a dot and its interval for each rung. Readable on light and on dark."""
    shown = table_rows(measures)
    means = [min(line.refit.mean, WORST) for line in shown]
    return dot_plot(
        [(line.title, line.refit, line.reference) for line in shown],
        title=title,
        caption="test rmse, stars (lower is better)",
        low=min(means, default=0.8) - 0.01,
        high=max(means, default=1.0) + 0.01,
    )
