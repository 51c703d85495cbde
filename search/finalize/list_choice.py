"""The lists of a run: the blend of its list trials, or of the families' starting points where it has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from recsys.data.dataset import Dataset
from recsys.ranking.list_ensemble import ListTrial, blend_lists, evaluate_starts
from recsys.ranking.list_selection import ListSelection, fixed_lists
from recsys.ranking.list_validation import ListFigures, ListValidation
from recsys.training.serialization import plain
from recsys.training.trial_types import TrialResult
from recsys.types import JsonObject
from search.config.plan import SearchPlan
from search.config.tracks import search_family
from search.results.metrics import ListMemberResult, ListsResult


def choose_lists(
    results: Sequence[TrialResult],
    lists: ListValidation | None,
    plan: SearchPlan,
    dataset: Dataset,
    *,
    log: Callable[[str], None],
) -> ListSelection:
    """What the release's lists come from.

    Args:
        results: The run's trials that have ended, of both tracks.
        lists: What list trials were judged on; None where the plan does not search for lists.
        plan: The run's.
        dataset: The run's, for the items' features and the positives.
        log: Prints a line.
    """
    if lists is None:
        return fixed_lists(dataset.item_features)
    trials = list_trials(results)
    if not trials and not lists.impossible:
        log("no list trial ended: lists are a blend of the families' own starting points")
        trials = evaluate_starts(lists, progress=log)
    chosen = blend_lists(trials, lists, max_milliseconds=plan.max_milliseconds, progress=log)
    return replace(chosen, positives=dataset.positives)


def list_trials(results: Sequence[TrialResult]) -> list[ListTrial]:
    """The list trials among ``results`` that have figures."""
    return [
        ListTrial(
            result.spec.number,
            result.spec.family,
            search_family(result.spec.family).config(result.spec.config),
            ListFigures(
                ndcg=result.list_metrics["ndcg_at_10"],
                precision=result.list_metrics["precision_at_10"],
                seconds=result.seconds,
                milliseconds=result.list_metrics["milliseconds_a_list"],
            ),
        )
        for result in results
        if result.list_metrics
    ]


def lists_result(report: JsonObject, trials: Sequence[TrialResult]) -> ListsResult | None:
    """The list track in results.json.

    Args:
        report: As ``ListSelection.report`` has it; {} where there are no lists.
        trials: The run's; members that are starting points are not trials.
    """
    if not report:
        return None
    searched = {trial.spec.number for trial in trials if trial.list_metrics}
    blend = report.get("blend", {})
    chosen = [row for row in blend.get("candidates", []) if row["weight"] > 0]
    members = []
    for index, member in enumerate(report["recipe"]["members"]):
        row = chosen[index] if chosen else {}
        number = row.get("number")
        members.append(
            ListMemberResult(
                trial=number if number in searched else None,
                ndcg_at_10=row.get("ndcg_at_10"),
                **plain(member),
            )
        )
    tried = report.get("tried", [])
    return ListsResult(
        family=report["family"],
        selected_by=report.get("selected_by", ""),
        people=blend.get("people", 0),
        ndcg_at_10=blend.get("ndcg_at_10"),
        members=members,
        newcomers=report["recipe"]["newcomers"],
        trials={row["number"]: row["ndcg_at_10"] for row in tried if row["number"] in searched},
        reason=report["reason"],
    )
