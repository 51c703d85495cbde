"""report.html from a run's results.json and trials.json."""

from __future__ import annotations

import datetime as dt
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from recsys.text_table import number
from recsys.training.trial_types import TrialResult, TrialStatus
from search.report.figures import group_models, group_plots, interval_rows
from search.report.parameters import FEWEST_TRIALS, MOST_SHOWN, name_of, value_text, varied
from search.report.search_plots import curves_plot, front_plot, parallel_plot, progress_plot
from search.results.schema import Metrics, Results
from search.results.summary import (
    LIST_METRICS,
    beyond_accuracy_sentence,
    headline_comparisons,
    judged_rows,
    judged_title,
    lists_sentence,
    model_rows,
    unmeasured,
)

HERE = Path(__file__).parent
TABLE_TRIALS = 200  # rows of the table of trials; the rest is in trials.json


def environment() -> jinja2.Environment:
    """Jinja environment of the pages: templates in this folder, autoescaping, shared filters."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": number,
        "count": lambda value: f"{value:,}",
        "usd": lambda value: "-" if value is None else f"${value:,.2f}",
        "duration": duration,
        "time": lambda value: dt.datetime.fromtimestamp(value, dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "json": lambda value: json.dumps(value, indent=1, ensure_ascii=False),
        "words": lambda value: str(value).replace("_", " "),
        "value": value_text,
        "trial_name": name_of,
    }
    made.filters.update(filters)
    return made


def render(results: Results, trials: Sequence[TrialResult]) -> str:
    """The page as HTML."""
    parameters = varied([trial for trial in trials if trial.spec.family == _subject(trials)])
    best = results.best.trial if results.best else None
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            r=results,
            style=Markup((HERE / "page.css").read_text()),
            script=Markup((HERE / "page.js").read_text()),
            headline=_headline(results),
            tiles=_tiles(results),
            models=[
                (label, model, model.valid or Metrics(), model.test or Metrics())
                for _, label, model in model_rows(results)
            ],
            comparisons=headline_comparisons(results),
            measures=unmeasured(results),
            intervals=interval_rows(results),
            progress=progress_plot(trials),
            curves=curves_plot(trials, best=best),
            parallel=parallel_plot(
                [t for t in trials if t.spec.family == _subject(trials)], parameters[:MOST_SHOWN]
            ),
            front=front_plot(trials, results.ndcg_at_10, results.front),
            parameters=parameters,
            important=[p for p in parameters if p.importance is not None][:MOST_SHOWN],
            fewest_trials=FEWEST_TRIALS,
            groups=group_plots(results),
            group_models=group_models(results),
            improvements=_improvements(results, trials),
            states=_states(results, trials),
            stages=_stages(results),
            trials=sorted(trials, key=_rank)[:TABLE_TRIALS],
            judged_lists=[
                (judged_title(lists), judged_rows(lists), beyond_accuracy_sentence(lists))
                for lists in results.judged_lists
            ],
            list_metrics=list(LIST_METRICS.values()),
            lists_sentence="" if results.lists is None else lists_sentence(results.lists),
            failed=[trial for trial in trials if trial.status is TrialStatus.FAILED],
            command=shlex.join(results.command),
            now=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _rank(trial: TrialResult) -> tuple[bool, float]:
    """Rating trials by rmse, then list trials by NDCG@10, then those without a figure."""
    if trial.rmse is not None:
        return False, trial.rmse
    return True, -trial.list_metrics.get("ndcg_at_10", -1.0)


def _subject(trials: Sequence[TrialResult]) -> str:
    """The family that most of the search was spent on."""
    families = [trial.spec.family for trial in trials if trial.spec.track == "rating"]
    return max(set(families), key=lambda family: (families.count(family), family)) if families else ""


def _headline(results: Results) -> str:
    """The result in a sentence that claims no more than the interval allows."""
    comparisons = {(entry.a, entry.b): entry for entry in results.comparisons if entry.metric == "rmse"}
    rival = "formula_recalibrated" if results.formula_recalibrated else "formula"
    entry = comparisons.get(("ensemble", rival))
    if entry is None:
        return ""
    words = {
        "formula": "the formula as written",
        "formula_recalibrated": "the formula with BatchNorm recalibrated",
    }[rival]
    interval = f"(95% interval {entry.low:+.4f} to {entry.high:+.4f})"
    if entry.better:
        return (
            f"On test the ensemble's rmse is {-entry.difference:.4f} stars below that of {words} {interval}."
        )
    if entry.low > 0:
        return f"On test the ensemble is worse than {words}: rmse {entry.difference:+.4f} stars {interval}."
    return f"On test the ensemble cannot be told from {words}: rmse {entry.difference:+.4f} stars {interval}."


def _tiles(results: Results) -> list[dict[str, str]]:
    """The headline figures."""
    tiles = []
    for label, model in (("Ensemble", results.ensemble), ("Best searched model", results.best)):
        if model is not None:
            part, figures = ("test", model.test) if model.test else ("valid", model.valid or Metrics())
            tiles.append(
                {
                    "label": f"{label}, {part}",
                    "value": f"rmse {number(figures.rmse)}",
                    "note": f"loss {number(figures.loss)}",
                }
            )
    lists = results.recommender.test if results.recommender else None
    if lists is not None and lists.ndcg_at_10 is not None:
        tiles.append(
            {
                "label": "Lists served, test",
                "value": f"NDCG@10 {lists.ndcg_at_10:.3f}",
                "note": f"P@10 {number(lists.precision_at_10, 3)}",
            }
        )
    tiles.append(
        {
            "label": "Search",
            "value": f"{sum(results.trials.values())} trials",
            "note": ", ".join(f"{count} {state}" for state, count in results.trials.items()),
        }
    )
    tiles.append(
        {
            "label": "Cost",
            "value": f"${results.budget.usd:.2f}",
            "note": f"{duration(results.budget.hours * 3600)}"
            + (f", cap ${results.budget.cap_usd:.2f}" if results.budget.cap_usd is not None else ""),
        }
    )
    return tiles


def _improvements(results: Results, trials: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """Each trial that was better than all before it, and what it had cost to get there."""
    rows: list[dict[str, Any]] = []
    best, seconds = float("inf"), 0.0
    total = sum(trial.seconds for trial in trials) or 1.0
    for trial in sorted(trials, key=lambda trial: trial.spec.number):
        seconds += trial.seconds
        if trial.rmse is None or not trial.rmse < best:
            continue
        rows.append(
            {
                "trial": trial,
                "gain": None if best == float("inf") else best - trial.rmse,
                "seconds": seconds,
                "usd": results.budget.usd * seconds / total,
            }
        )
        best = trial.rmse
    return rows


def _states(results: Results, trials: Sequence[TrialResult]) -> list[dict[str, Any]]:
    total = sum(trial.seconds for trial in trials) or 1.0
    rows = []
    for state in TrialStatus:
        chosen = [trial for trial in trials if trial.status is state]
        if chosen:
            seconds = sum(trial.seconds for trial in chosen)
            rows.append(
                {
                    "state": state.value,
                    "count": len(chosen),
                    "seconds": seconds,
                    "share": seconds / total,
                    "usd": results.budget.usd * seconds / total,
                    "each": results.budget.usd * seconds / total / len(chosen),
                }
            )
    return rows


def _stages(results: Results) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of the whole)."""
    total = results.seconds.get("total") or sum(results.seconds.values()) or 1.0
    return [
        (name, seconds, seconds / total)
        for name, seconds in results.seconds.items()
        if name != "total" and seconds > 0
    ]


def duration(seconds: float) -> str:
    """Seconds in readable units."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
