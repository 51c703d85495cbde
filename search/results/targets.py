"""Every target of the owner's plan, and whether this run met it.

The plan's "RMSE" is a validation loss (MSE + 0.01 · KL) on ML-32M with the newest fifth set aside, so
its error targets are judged on ``loss`` there and nowhere else; on other data the same figure stands
beside the target as ``here``, without a verdict. Precision and NDCG are judged on ``per-user`` splits,
the protocol under which the published numbers are near 0.40 and 0.45.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys.data.releases import RELEASES
from search.results.metrics import metrics_on
from search.results.schema import Results, Target, Verdict

ML_32M_RATINGS = RELEASES["ml-32m"].ratings
PLAN_SPLIT = "future-holdout"
LISTS_PROTOCOL = "per-user"
PLAN_COMMAND = (
    "python search/breakthrough.py --cluster clusters/runpod.yaml --data ml-32m --split future-holdout "
    "--plan search/plans/full.yaml"
)
LISTS_COMMAND = f"python search/breakthrough.py --data ml-100k --split {LISTS_PROTOCOL}"
SERVING_COMMAND = "python -m tests.benchmarks.serving"
ON_PLAN_DATA = "ML-32M, newest 20% set aside, older 80% split 80/20; validation"
ON_LISTS = (
    "75/25 of each user's ratings, every test rating relevant, whole catalogue without seen items; test"
)
ANY_RUN = "this run"


@dataclass(frozen=True)
class Bound:
    """``value`` under the protocol must lie below (or ``above``) ``limit``, which itself may count
    (``inclusive``)."""

    limit: float
    above: bool = False
    inclusive: bool = False

    def holds(self, value: float) -> bool:
        if self.inclusive and value == self.limit:
            return True
        return value > self.limit if self.above else value < self.limit


def judge(results: Results) -> list[Target]:
    """A verdict for every target, in the plan's order."""
    on_plan = results.split.protocol == PLAN_SPLIT and results.dataset.ratings >= ML_32M_RATINGS
    on_lists = results.split.protocol == LISTS_PROTOCOL or results.list_check is not None
    best, ensemble = metrics_on(results.best, "valid"), metrics_on(results.ensemble, "valid")
    lists = results.list_check or metrics_on(results.recommender, "test")
    failed = results.trials.get("failed", 0)

    def plan(name: str, words: str, bound: Bound, value: float | None) -> Target:
        return _target(name, ON_PLAN_DATA, words, bound, value, measured=on_plan, command=PLAN_COMMAND)

    def list_quality(name: str, words: str, bound: Bound, value: float | None) -> Target:
        return _target(name, ON_LISTS, words, bound, value, measured=on_lists, command=LISTS_COMMAND)

    return [
        plan("Breakthrough: one model", "loss < 0.55 (rmse about 0.742)", Bound(0.55), best.loss),
        plan(
            "Breakthrough: better than the formula",
            "loss at least 13% below the formula's",
            Bound(0.13, above=True, inclusive=True),
            _improvement(metrics_on(results.formula, "valid").loss, best.loss),
        ),
        plan("Ensemble", "loss 0.48 to 0.52, or lower", Bound(0.52, inclusive=True), ensemble.loss),
        plan(
            "Ensemble: better than its best member",
            "loss at least 2% below the best model's",
            Bound(0.02, above=True, inclusive=True),
            _improvement(best.loss, ensemble.loss),
        ),
        plan("Stretch", "loss < 0.50 (rmse about 0.707)", Bound(0.50), _lower(best.loss, ensemble.loss)),
        list_quality("Precision@10", "> 0.40", Bound(0.40, above=True), lists.precision_at_10),
        list_quality("NDCG@10", "> 0.45", Bound(0.45, above=True), lists.ndcg_at_10),
        Target(
            name="Inference",
            protocol="HTTP, 99th percentile, concurrency up to 8, two cores, a release of ML-32M's shape",
            target="< 50 ms",
            value=None,
            verdict="not measured",
            command=SERVING_COMMAND,
        ),
        _target(
            "Cost",
            ANY_RUN,
            "< $20 per experiment",
            Bound(20.0),
            results.budget.usd,
            measured=results.budget.price_per_hour_usd > 0,
            command="python search/breakthrough.py --price USD_PER_HOUR_AND_NODE",
        ),
        _target(
            "Stability", ANY_RUN, "no trial crashes", Bound(0, inclusive=True), float(failed), measured=True
        ),
        _target(
            "Time",
            "the full plan on one RTX A6000",
            "within 6 hours",
            Bound(6.0, inclusive=True),
            results.budget.hours,
            measured=on_plan and "A6000" in str(results.cluster),
            command=PLAN_COMMAND,
        ),
    ]


def _target(
    name: str,
    protocol: str,
    words: str,
    bound: Bound,
    value: float | None,
    *,
    measured: bool,
    command: str = "",
) -> Target:
    target = Target(
        name=name, protocol=protocol, target=words, value=None, verdict="not measured", here=value
    )
    if measured and value is not None:
        verdict: Verdict = "met" if bound.holds(value) else "missed"
        return target.model_copy(update={"value": value, "verdict": verdict})
    return target.model_copy(update={"command": command})


def _improvement(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else 1.0 - after / before


def _lower(*values: float | None) -> float | None:
    present = [value for value in values if value is not None]
    return min(present) if present else None
