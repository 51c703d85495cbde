"""The last screen of a run, as text: loss and rmse side by side, never one without its name."""

from __future__ import annotations

from pathlib import Path

from recsys.text_table import number, text_table
from search.results.schema import ListsResult, Metrics, ModelResult, PairedComparison, Results

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
    found = {(entry.a, entry.b): entry for entry in results.comparisons if entry.metric == "rmse"}
    return [found[pair] for pair in wanted if pair in found]


def _sentence(entry: PairedComparison) -> str:
    verdict = "better" if entry.better else "worse" if entry.low > 0 else "not told apart"
    return (
        f"{entry.a} against {entry.b}, {entry.slice} rmse: {entry.difference:+.4f} "
        f"(95% interval {entry.low:+.4f} to {entry.high:+.4f}): {verdict}"
    )
