"""Finished rungs as a markdown table and as a plot, means with 95% t intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from scipy import stats

from recsys.metrics.rating import loss
from tests.benchmarks.ablation.measure import Measure
from tests.benchmarks.ablation.rungs import LADDER


@dataclass(frozen=True)
class MeanInterval:
    """``half`` is half the width of the 95% interval of the mean; NaN from a single seed."""

    mean: float
    half: float

    @staticmethod
    def of(values: Sequence[float]) -> MeanInterval:
        count = len(values)
        half = float("nan")
        if count > 1:
            half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
        return MeanInterval(float(np.mean(values)), half)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if np.isnan(self.half) else f"{self.mean:.4f} ± {self.half:.4f}"


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
        own = [one for one in measures if one.rung == rung.name]
        if not own:
            continue
        result.append(
            TableRow(
                title=rung.title if rung.reference or rung.name == "formula" else f"+ {rung.title}",
                reference=rung.reference,
                valid=MeanInterval.of([one.valid for one in own]),
                test=MeanInterval.of([one.test for one in own]),
                test_loss=MeanInterval.of([loss(one.test**2, one.kl) for one in own]),
                refit=MeanInterval.of([one.test_refit for one in own]),
                epochs=float(np.mean([one.epochs for one in own])),
                kl=float(np.mean([one.kl for one in own])),
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


LEFT, WIDTH, ROW, TOP = 300, 420, 26, 40  # pixels
WORST = 1.05  # stars: what errs more is drawn at the edge, its figure beside it


def svg(measures: Sequence[Measure], *, title: str) -> str:
    """Test rmse after the refit: a dot and its interval for each rung. Readable on light and on dark."""
    shown = table_rows(measures)
    means = [min(line.refit.mean, WORST) for line in shown]
    low, high = min(means, default=0.8) - 0.01, max(means, default=1.0) + 0.01

    def index(value: float) -> float:
        return LEFT + WIDTH * (min(max(value, low), high) - low) / (high - low)

    height = TOP + ROW * len(shown) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 130} {height}" '
        'font-family="sans-serif" font-size="12" fill="#777">',
        f'<text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, line in enumerate(shown):
        y = TOP + ROW * number + ROW / 2
        colour = "#b8722c" if line.reference else "#2f7fc1"
        half = 0.0 if np.isnan(line.refit.half) else line.refit.half
        ends = (index(line.refit.mean - half), index(line.refit.mean + half))
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(line.title)}</text>',
            f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}" stroke="#7773"/>',
            f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
            'stroke-width="3"/>',
            f'<circle cx="{index(line.refit.mean):.1f}" cy="{y}" r="4.5" fill="{colour}"/>',
            f'<text x="{LEFT + WIDTH + 10}" y="{y + 4}">{line.refit}</text>',
        ]
    parts.append(f'<text x="{LEFT}" y="{height - 8}">test rmse, stars (lower is better)</text></svg>')
    return "\n".join(parts) + "\n"
