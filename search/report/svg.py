"""Plots for a self-contained page: geometry as stretched SVG, text as HTML over it.

The SVG fills whatever width there is (``preserveAspectRatio="none"``, strokes that do not scale), and
tick labels are HTML placed in per cent, so that they stay readable on a phone. A dot is a stroke of no
length with round ends, which stretching leaves round. Some 20 kB a page where plotly.js takes 4.8 MB.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

SIZE = 1000.0  # of the drawing, both ways


@dataclass(frozen=True)
class Axis:
    """``low`` to ``high`` along an axis; ``ticks`` are (value, label), found when none are given."""

    low: float
    high: float
    title: str = ""
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def position(self, value: float) -> float:
        """0 at ``low`` to 1 at ``high``; outside values stay outside."""
        if self.high == self.low:
            return 0.5
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def labels(self, count: int = 5) -> tuple[tuple[float, str], ...]:
        return self.ticks or nice_ticks(self.low, self.high, count=count, log=self.log)


def nice_ticks(
    low: float, high: float, *, count: int = 5, log: bool = False
) -> tuple[tuple[float, str], ...]:
    """Round values between ``low`` and ``high``, about ``count`` of them, with labels of equal precision."""
    if not high > low:
        return ((low, f"{low:g}"),)
    if log:
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        if len(powers) >= 2:
            return tuple((10.0**power, f"{10.0**power:g}") for power in powers)
        return tuple((value, f"{value:.2g}") for value in (low, math.sqrt(low * high), high))
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if step / power == 2.5 else 0)
    first = math.ceil(low / step - 1e-9)
    values = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return tuple((value, f"{value:.{digits}f}") for value in values)


@dataclass
class Plot:
    """A plot being drawn. ``label`` describes it to screen readers; ``height`` in CSS pixels."""

    x: Axis
    y: Axis
    label: str
    height: int = 280
    marks: list[Markup] = field(default_factory=list)

    def line(
        self,
        points: Sequence[tuple[float, float]],
        *,
        kind: str,
        tip: str = "",
        trial: int | None = None,
        step: bool = False,
    ) -> None:
        """A line through (x, y) points; ``kind`` is its CSS class, ``tip`` its tooltip."""
        if not points:
            return
        positions = [self._position(*point) for point in points]
        path = f"M{positions[0][0]:.1f} {positions[0][1]:.1f}"
        for (_, before), (x, y) in itertools.pairwise(positions):
            path += f"L{x:.1f} {before:.1f}L{x:.1f} {y:.1f}" if step else f"L{x:.1f} {y:.1f}"
        extra = _data(tip, trial)
        self.marks.append(Markup(f'<path class="line {kind}" d="{path}"{extra}/>'))
        if tip:  # a wider, unseen stroke for the pointer
            self.marks.append(Markup(f'<path class="hit" d="{path}"{extra}/>'))

    def dot(self, x: float, y: float, *, kind: str, tip: str = "", trial: int | None = None) -> None:
        center_x, center_y = self._position(x, y)
        self.marks.append(
            Markup(f'<path class="dot {kind}" d="M{center_x:.1f} {center_y:.1f}h0"{_data(tip, trial)}/>')
        )

    def bar(self, left: float, right: float, y: float, *, kind: str, tip: str = "") -> None:
        """A bar from the bottom up to ``y``."""
        x0, top = self._position(left, y)
        x1, _ = self._position(right, y)
        path = f"M{x0:.1f} {SIZE:.0f}V{top:.1f}H{x1:.1f}V{SIZE:.0f}Z"
        self.marks.append(Markup(f'<path class="bar {kind}" d="{path}"{_data(tip, None)}/>'))

    def html(self) -> Markup:
        y_labels = self.y.labels()
        grid = "".join(
            f'<path class="grid" d="M0 {SIZE * (1 - self.y.position(value)):.1f}H{SIZE:.0f}"/>'
            for value, _ in y_labels
        )
        y_ticks = "".join(
            f'<span style="bottom:{100 * self.y.position(value):.2f}%">{escape(text)}</span>'
            for value, text in y_labels
        )
        x_ticks = "".join(
            f'<span style="left:{100 * self.x.position(value):.2f}%">{escape(text)}</span>'
            for value, text in self.x.labels(6)
        )
        box = f'viewBox="0 0 {SIZE:.0f} {SIZE:.0f}" preserveAspectRatio="none"'
        return Markup(
            f'<div class="plot" role="img" aria-label="{escape(self.label)}" '
            f'style="--height:{self.height}px"><div class="y-title">{escape(self.y.title)}</div>'
            f'<div class="y-ticks" aria-hidden="true">{y_ticks}</div>'
            f'<svg class="area" {box} aria-hidden="true">{grid}{"".join(self.marks)}</svg>'
            f'<div class="x-ticks" aria-hidden="true">{x_ticks}</div>'
            f'<div class="x-title">{escape(self.x.title)}</div></div>'
        )

    def _position(self, x: float, y: float) -> tuple[float, float]:
        return SIZE * self.x.position(x), SIZE * (1 - self.y.position(y))


def _data(tip: str, trial: int | None) -> str:
    text = f' data-tip="{escape(tip)}"' if tip else ""
    return text if trial is None else f'{text} data-trial="{trial}"'
