"""A ladder as an SVG: a dot and its interval a rung. Readable on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from scipy import stats

LEFT, WIDTH, ROW, TOP = 300, 420, 26, 40  # pixels


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


def dot_plot(
    rungs: Sequence[tuple[str, MeanInterval, bool]], *, title: str, caption: str, low: float, high: float
) -> str:
    """An SVG document.

    Args:
        rungs: Name, figure, and whether it is a reference (drawn in another colour), from the top.
        title: Above the rungs.
        caption: What the figures are.
        low: Left end of the axis; what lies beyond an end is drawn there, its figure beside it.
        high: Right end.
    """

    def index(value: float) -> float:
        return LEFT + WIDTH * (min(max(value, low), high) - low) / (high - low)

    height = TOP + ROW * len(rungs) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 130} {height}" '
        'font-family="sans-serif" font-size="12" fill="#777">',
        f'<text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for number, (name, figure, reference) in enumerate(rungs):
        y = TOP + ROW * number + ROW / 2
        colour = "#b8722c" if reference else "#2f7fc1"
        half = 0.0 if np.isnan(figure.half) else figure.half
        ends = (index(figure.mean - half), index(figure.mean + half))
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}" stroke="#7773"/>',
            f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
            'stroke-width="3"/>',
            f'<circle cx="{index(figure.mean):.1f}" cy="{y}" r="4.5" fill="{colour}"/>',
            f'<text x="{LEFT + WIDTH + 10}" y="{y + 4}">{figure}</text>',
        ]
    parts.append(f'<text x="{LEFT}" y="{height - 8}">{escape(caption)}</text></svg>')
    return "\n".join(parts) + "\n"
