"""The search as pictures: its progress, every learning curve, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from recsys.training.trial_types import TrialResult
from search.report.parameters import Parameter, name_of, value_text
from search.report.svg import Axis, Plot

KINDS = {"formula": "formula", "template": "template", "baseline": "yardstick"}
SHADES = 6  # steps from the worst trial's colour to the best's


def progress_plot(trials: Sequence[TrialResult]) -> Markup:
    """Every trial's best rmse in the order they were made, and the best so far."""
    scored = [trial for trial in trials if _is_finite(trial.rmse)]
    if not scored:
        return Markup("")
    values = [trial.rmse for trial in scored if trial.rmse is not None]
    low, high = _range(values)
    plot = Plot(
        Axis(-0.5, max(trial.spec.number for trial in trials) + 0.5, title="trial"),
        Axis(low, high, title="rmse on valid, stars (lowest epoch)"),
        label=f"Best rmse of each of {len(scored)} trials; the lowest is {min(values):.4f}",
    )
    best, steps = math.inf, []
    for trial in scored:
        assert trial.rmse is not None
        best = min(best, trial.rmse)
        steps.append((float(trial.spec.number), min(best, high)))
    plot.line(steps, kind="best-so-far", step=True)
    for trial in scored:
        assert trial.rmse is not None
        kind = KINDS.get(trial.spec.origin, trial.status.value)
        plot.dot(
            trial.spec.number, min(trial.rmse, high), kind=kind, tip=trial_tip(trial), trial=trial.spec.number
        )
    return plot.html()


def curves_plot(trials: Sequence[TrialResult], *, best: int | None) -> Markup:
    """Every trial's rmse by epoch; the formula, the template and the best stand out."""
    curves = [
        (trial, [(float(report.epoch), report.rmse) for report in trial.reports if _is_finite(report.rmse)])
        for trial in trials
    ]
    curves = [(trial, points) for trial, points in curves if points]
    if not curves:
        return Markup("")
    low, high = _range([rmse for _, points in curves for _, rmse in points])
    last = max(points[-1][0] for _, points in curves)
    plot = Plot(
        Axis(1.0, max(last, 2.0), title="epoch"),
        Axis(low, high, title="rmse on valid, stars"),
        label=f"Learning curves of {len(curves)} trials",
        height=340,
    )
    order = sorted(curves, key=lambda curve: _standing(curve[0], best))
    for trial, points in order:
        kind = _kind(trial, best)
        plot.line(points, kind=kind, tip=trial_tip(trial), trial=trial.spec.number)
        if len(points) == 1:
            plot.dot(*points[0], kind=kind, tip=trial_tip(trial), trial=trial.spec.number)
        if kind == "best":
            train = [(float(r.epoch), r.train_rmse) for r in trial.reports if _is_finite(r.train_rmse)]
            plot.line(train, kind="best-train", tip=f"{trial.spec.name}: rmse on a sample of train")
    return plot.html()


def parallel_plot(trials: Sequence[TrialResult], parameters: Sequence[Parameter]) -> Markup:
    """One line a trial through its settings to its rmse; the darker, the better."""
    scored = [trial for trial in trials if _is_finite(trial.rmse)]
    if len(scored) < 2 or not parameters:
        return Markup("")
    results = [trial.rmse for trial in scored if trial.rmse is not None]
    low, high = _range(results)
    ranks = np.argsort(np.argsort(results))
    count = len(parameters)
    ticks = [(float(index), parameter.name.replace("_", " ")) for index, parameter in enumerate(parameters)]
    plot = Plot(
        Axis(0.0, float(count), ticks=(*ticks, (float(count), "rmse"))),
        Axis(0.0, 1.0, ticks=((2.0, ""),)),
        label="Parallel coordinates: settings of each trial and its rmse on valid",
        height=360,
    )
    worst_first = sorted(zip(scored, ranks, strict=True), key=lambda pair: -pair[1])
    for trial, rank in worst_first:
        assert trial.rmse is not None
        points = [
            (float(index), parameter.position(trial.spec.config))
            for index, parameter in enumerate(parameters)
        ]
        points.append((float(count), (min(trial.rmse, high) - low) / (high - low)))
        shade = int(SHADES * rank / len(scored))
        plot.line(points, kind=f"shade-{shade}", tip=trial_tip(trial, parameters), trial=trial.spec.number)
    ends = [(*parameter.ends(),) for parameter in parameters] + [(f"{low:.3f}", f"{high:.3f}")]
    marks = "".join(
        f'<span class="top" style="left:{100 * index / count:.2f}%">{Markup.escape(top)}</span>'
        f'<span class="bottom" style="left:{100 * index / count:.2f}%">{Markup.escape(bottom)}</span>'
        f'<i style="left:{100 * index / count:.2f}%"></i>'
        for index, (bottom, top) in enumerate(ends)
    )
    return (
        Markup('<div class="parallel">')
        + plot.html()
        + Markup(f'<div class="ends" aria-hidden="true">{marks}</div></div>')
    )


def front_plot(trials: Sequence[TrialResult], ndcg: Mapping[int, float], front: Sequence[int]) -> Markup:
    """Loss against NDCG@10 on valid; the front is what no other trial beats in both."""
    points = {
        trial.spec.number: (trial.loss, ndcg[trial.spec.number], trial)
        for trial in trials
        if trial.loss is not None and _is_finite(trial.loss) and trial.spec.number in ndcg
    }
    if len(points) < 2:
        return Markup("")
    low, high = _range([loss for loss, _, _ in points.values()])
    lists = [value for _, value, _ in points.values()]
    margin = max((max(lists) - min(lists)) * 0.06, 1e-4)
    plot = Plot(
        Axis(low, high, title="loss on valid (MSE + 0.01 KL): lower is better"),
        Axis(min(lists) - margin, max(lists) + margin, title="NDCG@10 on valid: higher is better"),
        label=f"Loss and NDCG@10 of {len(points)} trials; {len(front)} are on the front",
    )
    edge = sorted((points[number][:2] for number in front if number in points), key=lambda point: point[0])
    plot.line([(min(loss, high), value) for loss, value in edge], kind="best-so-far")
    for number, (loss, value, trial) in points.items():
        tip = f"{trial_tip(trial)}\nNDCG@10 {value:.4f}"
        kind = "finished" if number in front else "pruned"
        plot.dot(min(loss, high), value, kind=kind, tip=tip, trial=number)
    return plot.html()


def trial_tip(trial: TrialResult, parameters: Sequence[Parameter] = ()) -> str:
    """The tooltip of a trial."""
    lines = [f"{name_of(trial)} ({trial.spec.family}), {trial.status.value}"]
    if trial.rmse is not None and trial.loss is not None:
        lines.append(f"rmse {trial.rmse:.4f}, loss {trial.loss:.4f} at epoch {trial.best_epoch}")
    lines += [
        f"{parameter.name}: {value_text(trial.spec.config.get(parameter.name))}" for parameter in parameters
    ]
    return "\n".join(lines)


def _kind(trial: TrialResult, best: int | None) -> str:
    if trial.spec.number == best:
        return "best"
    return KINDS.get(trial.spec.origin, "other")


def _standing(trial: TrialResult, best: int | None) -> int:
    return ("other", "yardstick", "template", "formula", "best").index(_kind(trial, best))


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest value up to where the bulk ends: a trial that broke down must not flatten the others."""
    ordered = np.sort(np.asarray(values, dtype=float))
    low, middle = float(ordered[0]), float(np.median(ordered))
    high = min(float(ordered[-1]), max(float(np.quantile(ordered, 0.9)), middle + 2 * (middle - low)))
    margin = max((high - low) * 0.06, 1e-4)
    return low - margin, high + margin
