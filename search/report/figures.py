"""Models side by side and the error in groups, as pictures."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from search.report.svg import Axis, Plot, nice_ticks
from search.results.schema import ErrorGroup, MetricInterval, Results
from search.results.summary import model_rows

GROUP_TITLES = {
    "rating": ("By the rating given", "rating, stars"),
    "activity": ("By how much the user has rated", "ratings of the user in train, from"),
    "popularity": ("By how popular the item is", "ratings of the item in train, from"),
}
MODEL_KINDS = ("formula", "formula_recalibrated", "bias", "best", "ensemble")


def interval_rows(results: Results) -> Markup:
    """Each model's rmse on test as a dot with its 95% interval, one row a model, loss and rmse in words."""
    intervals: dict[str, dict[str, MetricInterval]] = {}
    for entry in results.intervals:
        intervals.setdefault(entry.model, {})[entry.metric] = entry
    rows = [(key, label) for key, label, _ in model_rows(results) if "rmse" in intervals.get(key, {})]
    if not rows:
        return Markup("")
    low, high = _range([intervals[key]["rmse"] for key, _ in rows])
    axis = Axis(low, high)
    ticks = nice_ticks(low, high, count=4)
    grid = "".join(f'<i style="left:{100 * axis.position(value):.2f}%"></i>' for value, _ in ticks)
    parts = []
    for key, label in rows:
        parts.append(_interval_row(key, label, intervals[key], axis, grid))
    labels = "".join(
        f'<span style="left:{100 * axis.position(value):.2f}%">{text}</span>' for value, text in ticks
    )
    return Markup(
        f'<div class="intervals">{"".join(parts)}<div class="row axis"><div class="name"></div>'
        f'<div class="track">{labels}</div><div class="num">rmse, stars</div></div></div>'
    )


def _interval_row(key: str, label: str, figures: dict[str, MetricInterval], axis: Axis, grid: str) -> str:
    rmse, loss = figures["rmse"], figures["loss"]
    left, right, dot = (
        100 * min(1.0, max(0.0, axis.position(value))) for value in (rmse.low, rmse.high, rmse.value)
    )
    tip = escape(f"{label}\nrmse {rmse.value:.4f}, 95% interval {rmse.low:.4f} to {rmse.high:.4f}")
    kind = _kind(key)
    cut = " cut" if rmse.value > axis.high else ""
    return (
        f'<div class="row"><div class="name">{escape(label)}</div>'
        f'<div class="track" data-tip="{tip}">{grid}'
        f'<b class="{kind}" style="left:{left:.2f}%;width:{right - left:.2f}%"></b>'
        f'<u class="{kind}{cut}" style="left:{dot:.2f}%"></u></div>'
        f'<div class="num"><strong>{rmse.value:.4f}</strong> <span>loss {loss.value:.4f}</span></div></div>'
    )


def group_plots(results: Results) -> list[tuple[str, Markup]]:
    """(title, plot) of rmse by rating value, user activity and item popularity."""
    plots = []
    for by, (title, axis) in GROUP_TITLES.items():
        groups = sorted((group for group in results.errors if group.by == by), key=lambda group: group.order)
        if len(groups) > 1:
            plots.append((title, _group_plot(groups, title, axis)))
    return plots


def _group_plot(groups: Sequence[ErrorGroup], title: str, axis: str) -> Markup:
    models = [model for model in MODEL_KINDS if all(model in group.rmse for group in groups)]
    highest = max(group.rmse[model] for group in groups for model in models)
    ticks = tuple((float(index), group.group.split("-")[0]) for index, group in enumerate(groups))
    plot = Plot(
        Axis(-0.5, len(groups) - 0.5, title=axis, ticks=ticks),
        Axis(0.0, highest * 1.08, title="rmse, stars; bars: share of the ratings"),
        label=f"rmse {title.lower()}",
        height=240,
    )
    total = sum(group.ratings for group in groups)
    largest = max(group.ratings for group in groups)
    for index, group in enumerate(groups):
        share = group.ratings / largest * highest * 0.35
        tip = f"{group.group}: {group.ratings:,} ratings, {group.ratings / total:.0%} of test"
        plot.bar(index - 0.4, index + 0.4, share, kind="share", tip=tip)
    for model in models:
        plot.line(
            [(float(index), group.rmse[model]) for index, group in enumerate(groups)], kind=_kind(model)
        )
        for index, group in enumerate(groups):
            tip = (
                f"{model.replace('_', ' ')}, {group.group}\nrmse {group.rmse[model]:.4f}, "
                f"predicted {group.bias[model]:+.2f} stars on average"
            )
            plot.dot(index, group.rmse[model], kind=_kind(model), tip=tip)
    return plot.html()


def group_models(results: Results) -> list[tuple[str, str]]:
    """(CSS class, label) of the models that the group plots show."""
    if not results.errors:
        return []
    labels = {key: label for key, label, _ in model_rows(results)}
    return [
        (_kind(model), labels.get(model, model)) for model in MODEL_KINDS if model in results.errors[0].rmse
    ]


def _kind(model: str) -> str:
    kinds = {"formula_recalibrated": "recalibrated", "template": "template"}
    return kinds.get(model, model if model in MODEL_KINDS else "yardstick")


def _range(intervals: Sequence[MetricInterval]) -> tuple[float, float]:
    """Room for all, but no model that broke down may flatten the rest."""
    values = sorted(entry.value for entry in intervals)
    middle = values[len(values) // 2]
    low = min(entry.low for entry in intervals)
    high = min(max(entry.high for entry in intervals), middle + 4 * max(middle - low, 0.01))
    margin = (high - low) * 0.05
    return low - margin, high + margin
