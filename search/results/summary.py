"""The last screen of a run, as text: loss and rmse side by side, never one without its name."""

from __future__ import annotations

from pathlib import Path

from recsys.text_table import number, text_table
from search.results.schema import (
    JudgedListsResult,
    ListFigure,
    ListsResult,
    Metrics,
    ModelResult,
    PairedComparison,
    Results,
)

OWNERS_TEMPLATE = "hybrid_vae_optimized"
NAMES = {
    "formula": "formula as written",
    "formula_recalibrated": "formula, BatchNorm recalibrated",
    "template": "the plan's optimised template",
    "best_hybrid_vae": "best hybrid VAE",
    "best": "best searched model",
    "ensemble": "ensemble",
    "recommender": "recommender (what HTTP serves)",
}


def model_rows(results: Results) -> list[tuple[str, str, ModelResult]]:
    """(key, label, model) of every model there is, yardsticks before what should beat them."""
    rows = [
        ("formula", results.formula),
        ("formula_recalibrated", results.formula_recalibrated),
        ("template", results.template),
        *results.baselines.items(),
        ("best_hybrid_vae", results.best_hybrid_vae),
        ("best", results.best),
        ("ensemble", results.ensemble),
        ("recommender", results.recommender),
    ]
    return [(key, label_of(key, results), model) for key, model in rows if model is not None]


def label_of(key: str, results: Results) -> str:
    """What a person calls the model ``key``. Only the owner's template is called the plan's optimised one."""
    template = str(results.plan.get("template", OWNERS_TEMPLATE))
    if key == "template" and template != OWNERS_TEMPLATE:
        return f"template {Path(template).stem}"
    return NAMES.get(key, key.replace("_", " "))


def summary_text(results: Results, folder: Path | None = None) -> str:
    """A table of every model on valid and test, the comparison that matters, the targets."""
    lines = [
        f"{results.name}: {results.dataset.name}, split {results.split.protocol} "
        f"(seed {results.split.seed}), {sum(results.trials.values())} trials "
        f"({', '.join(f'{count} {state}' for state, count in results.trials.items())})",
        "",
    ]
    rows = []
    for _, label, model in model_rows(results):
        valid, test = model.valid or Metrics(), model.test or Metrics()
        figures = [valid.loss, valid.rmse, test.loss, test.rmse, test.precision_at_10, test.ndcg_at_10]
        rows.append([label, *map(number, figures)])
    header = ["", "valid loss", "valid rmse", "test loss", "test rmse", "test P@10", "test NDCG@10"]
    lines += [text_table(header, rows), "", "loss is MSE + 0.01 KL; rmse is in stars."]
    if results.plan.get("retrain_on_valid"):
        lines.append("test judges each model trained again on train and valid; valid is of those on train.")
    lines += [_sentence(entry) for entry in headline_comparisons(results)]
    if (intervals := results.rating_intervals) is not None:
        inside = f"{intervals.coverage:.1%} of test is inside"
        lines.append(f"{intervals.level:.0%} intervals of predicted ratings: {inside}.")
    if results.lists is not None:
        lines.append(lists_sentence(results.lists))
    lines += judged_lists_lines(results)
    lines += ["", "The owner's targets:"]
    for target in results.targets:
        if target.value is not None:
            lines.append(f"  {target.verdict:7}{target.name}: {target.target} ({target.value:.4g})")
    for command, names in unmeasured(results).items():
        lines += [f"  not measured: {', '.join(names)}; by:", f"    {command}"]
    if folder is not None:
        lines += ["", f"report   {folder / 'report.html'}", f"results  {folder / 'results.json'}"]
        if (folder / "release").is_dir():
            lines += [
                f"release  {folder / 'release'}",
                f"serve it: python -m serving serve --release {folder / 'release'}",
            ]
    return "\n".join(lines)


LIST_METRICS = {
    "precision": "P",
    "recall": "recall",
    "ndcg": "NDCG",
    "map": "MAP",
    "mrr": "MRR",
    "hit_rate": "hit rate",
}


def judged_rows(lists: JudgedListsResult) -> list[list[str]]:
    """A row for each length, shortest first: k, then LIST_METRICS with half their interval."""
    by_metric = {(figure.metric, figure.at): figure for figure in lists.figures}
    lengths = sorted({figure.at for figure in lists.figures if figure.at is not None})
    return [[str(at), *(with_error(by_metric.get((name, at))) for name in LIST_METRICS)] for at in lengths]


def beyond_accuracy_sentence(lists: JudgedListsResult) -> str:
    """Coverage, novelty and popularity of the top 10, with their intervals."""
    by_metric = {figure.metric: figure for figure in lists.figures if figure.at is None}
    parts = [
        f"{words} {with_error(by_metric[name])}{unit}"
        for name, words, unit in (("coverage", "coverage", ""), ("novelty", "novelty", " bits"))
        if name in by_metric
    ]
    if "popular_share" in by_metric and "popular_share_of_ratings" in by_metric:
        parts.append(
            f"the most popular tenth of the items takes {with_error(by_metric['popular_share'])} of the "
            f"places (it has "
            f"{by_metric['popular_share_of_ratings'].value:.3f} of the ratings)"
        )
    return ", ".join(parts)


def judged_title(lists: JudgedListsResult) -> str:
    """Whose lists were judged, on whom."""
    what = "the recommender" if lists.model == "recommender" else "the blend of list families fitted there"
    folded = f", {lists.folded_in:,} of them folded in" if lists.folded_in else ""
    return f"lists of {what} on test of split {lists.protocol}, {lists.people:,} people{folded}"


def judged_lists_lines(results: Results) -> list[str]:
    """Every list metric at every length, with 95% intervals over people."""
    lines = []
    for lists in results.judged_lists:
        table = text_table(["k", *LIST_METRICS.values()], judged_rows(lists))
        lines += ["", f"{judged_title(lists)} (95% intervals over people):", table]
        lines.append(beyond_accuracy_sentence(lists) + ".")
    return lines


def with_error(figure: ListFigure | None) -> str:
    """A figure with half its interval; the interval's ends where it is cut on one side."""
    if figure is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    below, above = figure.value - figure.low, figure.high - figure.value
    if abs(above - below) > 0.0005:
        return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.value:.3f} ±{above:.3f}"


def lists_sentence(lists: ListsResult) -> str:
    """Where the lists come from, on one line."""
    if lists.ndcg_at_10 is None:
        return f"lists: {lists.family} ({lists.reason})."
    alone = max((member.ndcg_at_10 or 0.0 for member in lists.members), default=0.0)
    source = f"{len(lists.trials)} list trials" if lists.trials else "the families' starting points"
    return (
        f"lists: {len(lists.members)} of {source} ({lists.family}), NDCG@10 {lists.ndcg_at_10:.4f} on "
        f"ratings of {lists.people:,} people that no member was fitted on (best alone {alone:.4f})."
    )


def unmeasured(results: Results) -> dict[str, list[str]]:
    """Command -> the targets that it would measure."""
    commands: dict[str, list[str]] = {}
    for target in results.targets:
        if target.command:
            commands.setdefault(target.command, []).append(target.name)
    return commands


def headline_comparisons(results: Results) -> list[PairedComparison]:
    """Ensemble against formula (recalibrated where there is one), the strongest yardstick (by valid) and
    the best searched model, in rmse."""
    rivals = ["formula_recalibrated" if results.formula_recalibrated else "formula"]
    judged = {
        name: model.valid.rmse
        for name, model in results.baselines.items()
        if model.valid is not None and model.valid.rmse is not None
    }
    if judged:
        rivals.append(min(judged, key=lambda name: judged[name]))
    wanted = [("ensemble", rival) for rival in [*rivals, "best"]]
    comparisons = {(entry.a, entry.b): entry for entry in results.comparisons if entry.metric == "rmse"}
    return [comparisons[pair] for pair in wanted if pair in comparisons]


def _sentence(entry: PairedComparison) -> str:
    verdict = "better" if entry.better else "worse" if entry.low > 0 else "not told apart"
    return (
        f"{entry.a} against {entry.b}, {entry.slice} rmse: {entry.difference:+.4f} "
        f"(95% interval {entry.low:+.4f} to {entry.high:+.4f}): {verdict}"
    )
