"""Ensemble of list trials: blend weights by held-out ratings.

The best trials are fitted on every draw of the validation (three quarters of each user's ratings) and the
weights are chosen by lists for the rest, over all draws (``bagged_blend.py``). The weight of the popularity
prior is chosen last. Deterministic: the same trials give the same blend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recsys.models.ranges import FloatRange
from recsys.ranking.bagged_blend import CandidateScores, bagged_weights
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_selection import ListMember, ListSelection
from recsys.ranking.list_validation import ListFigures, ListValidation, unseen_scores
from recsys.ranking.popularity_prior import choose_popularity_prior
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_sum import sum_rankers
from recsys.seeds import derive_seed
from recsys.types import JsonObject

POOL = 10  # trials that the blend may use, the best of each family first
PER_FAMILY = 5
PER_KIND = 2  # of a family's configs with the same integers and choices
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ListTrial:
    """A config of a list family, and the metrics of its lists."""

    number: int
    family: str
    config: Any
    figures: ListFigures

    def describe(self) -> JsonObject:
        """As plain JSON, for a report."""
        return {
            "number": self.number,
            "family": self.family,
            "config": asdict(self.config),
            **self.figures.describe(),
            "seconds": round(self.figures.seconds, 3),
        }


def evaluate_starts(validation: ListValidation, *, progress: Progress = lambda line: None) -> list[ListTrial]:
    """Evaluates the starting points of every family, for a blend without a search.

    Args:
        validation: That they are fitted and evaluated on.
        progress: Receives a line for each trial.

    Returns:
        A trial for each different config.
    """
    trials: list[ListTrial] = []
    for family in LIST_FAMILIES.values():
        for start in family.starts if family.share > 0 else ():  # at 0: only in plans that name it
            config = family.usable(start, validation.data)
            if all((trial.family, trial.config) != (family.name, config) for trial in trials):
                figures = validation.evaluate(family.name, config)
                trials.append(ListTrial(len(trials), family.name, config, figures))
                progress(f"list start {family.name}: NDCG@10 {figures.ndcg:.4f} ({figures.seconds:.1f} s)")
    return trials


def blend_lists(
    trials: Sequence[ListTrial],
    validation: ListValidation,
    *,
    max_milliseconds: float | None = None,
    progress: Progress = lambda line: None,
) -> ListSelection:
    """Blends the best trials.

    Args:
        trials: At least one, unless no list can be evaluated.
        validation: That they were evaluated on.
        max_milliseconds: Upper bound of the members' time for a list, together; None: none.
        progress: Receives a line.

    Returns:
        The selection; popularity where no list can be evaluated.
    """
    features = validation.data.item_features
    if validation.impossible or not trials:
        reason = validation.impossible or "no list trial ended, so lists are the popular items"
        popularity = LIST_FAMILIES["popularity"]
        member = ListMember("popularity", popularity.usable(popularity.starts[0], validation.data), 1.0)
        return ListSelection((member,), features, reason=reason)
    pool = best_trials(trials, max_milliseconds=max_milliseconds)
    weighted, report = _weighted(pool, validation, max_milliseconds, progress)
    members = tuple(member for member, _ in weighted)
    holdout = validation.holdout
    newcomers, newcomer_report = choose_popularity_prior(
        sum_rankers([(ranker, member.weight) for member, ranker in weighted], family="blend"),
        holdout.users,
        validation.data.rated,
        holdout.relevant,
        seed=derive_seed(validation.seed, "lists", "newcomers"),
        scale=validation.data.ratings.scale,
    )
    report = {
        "selected_by": f"ndcg_at_10 on each person's {holdout.shape} quarter, {len(validation.draws)} draws",
        "users": len(holdout.users),
        "tried": [trial.describe() for trial in trials],
        "blend": report,
        "newcomers": newcomer_report,
    }
    return ListSelection(members, features, newcomers=newcomers, search_report=report)


def best_trials(trials: Sequence[ListTrial], *, max_milliseconds: float | None = None) -> list[ListTrial]:
    """The trials that a blend may use: each family's best first, then the others by NDCG.

    Of similar configs (of a family, with the same integers and choices) only the best PER_KIND.

    Args:
        trials: At least one.
        max_milliseconds: Upper bound of a trial's time for a list; where none is below, only the fastest.

    Returns:
        At most POOL trials, by number.
    """
    ranked = sorted(trials, key=lambda trial: (-trial.figures.ndcg, trial.number))
    if max_milliseconds is not None:
        fast = [trial for trial in ranked if trial.figures.milliseconds <= max_milliseconds]
        ranked = fast or [min(ranked, key=lambda trial: trial.figures.milliseconds)]
    counts: dict[str, int] = {}
    kinds: dict[tuple[str, tuple[Any, ...]], int] = {}
    family_bests: list[ListTrial] = []
    others: list[ListTrial] = []
    for trial in ranked:
        count, kind = counts.get(trial.family, 0), _kind(trial)
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] > PER_KIND:
            continue
        if count < PER_FAMILY and trial.figures.ndcg > 0.8 * ranked[0].figures.ndcg:
            counts[trial.family] = count + 1
            (others if count else family_bests).append(trial)
    return sorted((family_bests[:4] + others)[:POOL] or ranked[:1], key=lambda trial: trial.number)


def _kind(trial: ListTrial) -> tuple[str, tuple[Any, ...]]:
    """A trial's family, and the integers and choices of its config."""
    ranges = LIST_FAMILIES[trial.family].ranges
    names = [name for name, span in ranges.items() if not isinstance(span, FloatRange)]
    return trial.family, tuple(getattr(trial.config, name) for name in names)


def _weighted(
    pool: Sequence[ListTrial],
    validation: ListValidation,
    max_milliseconds: float | None,
    progress: Progress,
) -> tuple[list[tuple[ListMember, Ranker]], JsonObject]:
    """Members with weights chosen over the lists of every draw, each with its ranker of the first draw; and
    the report."""
    scores_of_blocks: list[CandidateScores] = []
    fitted: list[Ranker] = []
    for draw in validation.draws:
        rankers = [validation.fit(draw, trial.family, trial.config) for trial in pool]
        fitted = fitted or rankers
        for block in draw.blocks():
            users = draw.holdout.users[block]
            scores = [unseen_scores(ranker, draw.data, users, users_fitted=True) for ranker in rankers]
            scores_of_blocks.append(CandidateScores.of(scores, draw.holdout.relevant[block]))
    blend = bagged_weights(
        CandidateScores.concatenate(scores_of_blocks),
        seed=derive_seed(validation.seed, "lists", "bags"),
        costs=[trial.figures.milliseconds for trial in pool],
        most=max_milliseconds,
    )
    members = [
        (ListMember(trial.family, trial.config, float(weight)), ranker)
        for trial, ranker, weight in zip(pool, fitted, blend.weights, strict=True)
        if weight > 0
    ]
    people = len(validation.holdout.users)
    progress(
        f"lists: {' + '.join(member.family for member, _ in members)}, NDCG@10 {blend.ndcg:.4f} on "
        f"{len(validation.draws)} held-out quarters of {people} people (best alone {blend.alone.max():.4f})"
    )
    report: JsonObject = {
        "people": people,
        "ndcg_at_10": blend.ndcg,
        "candidates": [
            {
                "number": trial.number,
                "family": trial.family,
                "ndcg_at_10": float(alone),
                "weight": float(weight),
            }
            for trial, alone, weight in zip(pool, blend.alone, blend.weights, strict=True)
        ],
    }
    return members, report
