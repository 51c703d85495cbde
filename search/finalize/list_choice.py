"""The lists of a run: the blend of its list trials, or of the families' starting points where it has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from recsys.data.dataset import Dataset
from recsys.ranking.list_ensemble import ListTrial, blend_lists, judge_starts
from recsys.ranking.list_selection import ListSelection, fixed_lists
from recsys.ranking.list_validation import ListFigures, ListValidation
from recsys.training.trial_types import TrialResult
from search.config.plan import SearchPlan
from search.config.tracks import search_family


def choose_lists(
    results: Sequence[TrialResult],
    lists: ListValidation | None,
    plan: SearchPlan,
    dataset: Dataset,
    *,
    say: Callable[[str], None],
) -> ListSelection:
    """What the release's lists come from.

    Args:
        results: The run's trials that have ended, of both tracks.
        lists: What list trials were judged on; None where the plan does not search for lists.
        plan: The run's.
        dataset: The run's, for the items' features and the positives.
        say: Prints a line.
    """
    if lists is None:
        return fixed_lists(dataset.item_features)
    trials = list_trials(results)
    if not trials and not lists.impossible:
        say("no list trial ended: lists are a blend of the families' own starting points")
        trials = judge_starts(lists, progress=say)
    chosen = blend_lists(trials, lists, max_milliseconds=plan.max_milliseconds, progress=say)
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
