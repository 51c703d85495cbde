"""Searches list families and blends the best trials: what the lists of a release come from.

A trial fits one config on three quarters of each person's ratings and is judged by NDCG@10 of lists that
hold the rest (see list_holdout.py). Each family starts from good values; then draws alternate between the
whole ranges and a shrinking box around the family's best, more of them for families that do well. The best
trials are fitted again with a part of the people left out, those are folded in, and weights are chosen
greedily on them: nobody's weights are chosen on somebody that a member was fitted on. Pure functions: the
same seed and number of fits give the same ranker; ``seconds`` is a cap for slow machines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.ranking import best_of, evaluate_lists
from recsys.ranking.greedy_blend import blend_greedily
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES, ListFamily
from recsys.ranking.list_holdout import HoldoutShape, ListHoldout, hold_out
from recsys.ranking.list_selection import ListMember, ListSelection
from recsys.ranking.popularity_prior import choose_popularity_prior
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_config import history_of
from recsys.ranking.ranker_sum import sum_rankers
from recsys.seeds import derive_seed
from recsys.types import FloatArray, JsonObject

SAMPLE_RATINGS = 800_000  # trials fit on about so many; the blend's members, in the end, on all
FITS = ((300_000, 24), (SAMPLE_RATINGS, 14))  # trials, by the ratings that each costs
SCORE_CELLS = 12_000_000  # of a member's (users, items) scores that the blend is chosen on
MAX_USERS = 3_000
POOL = 9  # trials that the blend may take, the best of each family first
PER_FAMILY = 4
FOLDS = 5  # of people; one where the data is large
KNOWN_FOLDS_RATINGS = 300_000  # with more ratings one fold of people must do
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ListTrial:
    """One config, and what its lists were worth on the holdout."""

    number: int
    family: str
    config: Any
    ndcg: float
    precision: float
    seconds: float

    def describe(self) -> JsonObject:
        """As plain JSON, for a report."""
        return {
            "number": self.number,
            "family": self.family,
            "config": LIST_FAMILIES[self.family].describe(self.config),
            "ndcg_at_10": self.ndcg,
            "precision_at_10": self.precision,
            "seconds": round(self.seconds, 3),
        }


def search_lists(
    ratings: Ratings,
    *,
    seed: int,
    shape: HoldoutShape,
    item_features: FloatArray | None = None,
    families: Sequence[str] = tuple(LIST_FAMILIES),
    fits: int | None = None,
    folds: int | None = None,
    seconds: float = math.inf,
    progress: Progress = lambda line: None,
) -> ListSelection:
    """The best blend of list families for ``ratings``.

    Args:
        ratings: All that may be learned from (train and valid); test is not among them.
        seed: Of the holdout, the draws and the fits.
        shape: Which quarter of a person's ratings judges the trials.
        item_features: (items, columns), or None.
        families: Names in LIST_FAMILIES.
        fits: Trials; None: by the amount of data.
        folds: Of people that the blend is chosen on; None: by the amount of data.
        seconds: No trial is started after half of these, and no cross-fitting after all of them.
        progress: Hears a line per trial.

    Returns:
        The selection. With nobody to judge by it is popularity.
    """
    began = time.perf_counter()
    if fits is None:
        fits = next((count for most, count in FITS if len(ratings) <= most), FITS[-1][1])
    sample = _sampled(ratings, np.random.default_rng(derive_seed(seed, "lists", "sample")))
    most_users = max(50, min(MAX_USERS, SCORE_CELLS // max(ratings.item_count, 1)))
    holdout = hold_out(sample, shape=shape, seed=derive_seed(seed, "lists", "holdout"), most_users=most_users)
    if not len(holdout.users):
        floor = LIST_FAMILIES["popularity"]
        reason = "nobody has two ratings, so lists are the popular items"
        return ListSelection((ListMember("popularity", floor.starts[0], 1.0),), item_features, reason=reason)
    data = ListData(holdout.known, item_features)
    trials = _run_trials(data, holdout, families, fits, seed, began + 0.5 * seconds, progress)
    pool = _pool(trials)
    if folds is None:
        folds = FOLDS if len(data.ratings) <= KNOWN_FOLDS_RATINGS else 1
    until = began + seconds
    members, blend_report = _cross_fitted(pool, data, holdout, seed, folds, until, progress)
    blended = _fitted(members, data, seed)
    newcomers, newcomer_report = choose_popularity_prior(
        blended,
        holdout.users,
        data.rated,
        holdout.relevant,
        seed=derive_seed(seed, "lists", "newcomers"),
        scale=ratings.scale,
    )
    report = {
        "selected_by": f"ndcg_at_10 on each person's {shape} quarter",
        "users": len(holdout.users),
        "tried": [trial.describe() for trial in trials],
        "blend": blend_report,
        "newcomers": newcomer_report,
    }
    return ListSelection(members, item_features, newcomers=newcomers, search_report=report)


def _run_trials(
    data: ListData,
    holdout: ListHoldout,
    names: Sequence[str],
    fits: int,
    seed: int,
    until: float,
    progress: Progress,
) -> list[ListTrial]:
    """Starting values of every family, then draws, the most for the families that do best."""
    random = np.random.default_rng(derive_seed(seed, "lists", "draws"))
    families = [LIST_FAMILIES[name] for name in names]
    queue: list[tuple[ListFamily, Any]] = []
    for rank in range(max(len(family.starts) for family in families)):
        queue += [(family, family.starts[rank]) for family in families if rank < len(family.starts)]
    trials: list[ListTrial] = []
    done: set[tuple[str, Any]] = set()
    while len(trials) < fits:
        if queue:
            family, config = queue.pop(0)
        else:
            family, config = _next_draw(families, trials, fits, random)
        config = family.usable(config, data)
        if (family.name, config) in done:
            if not queue and len(done) > 10 * fits:
                break
            done.add((family.name, (config, len(done))))
            continue
        done.add((family.name, config))
        trials.append(_trial(len(trials), family, config, data, holdout, seed))
        last = trials[-1]
        progress(f"list trial {last.number} {last.family}: NDCG@10 {last.ndcg:.4f} ({last.seconds:.1f} s)")
        if time.perf_counter() > until:
            progress(f"list search: out of time after {len(trials)} of {fits} trials")
            break
    return trials


def _next_draw(
    families: Sequence[ListFamily], trials: Sequence[ListTrial], fits: int, random: np.random.Generator
) -> tuple[ListFamily, Any]:
    """A family by what its best is worth (the best of all is drawn e times as often as one 2% worse), and a
    config near that best or, one time in four, from anywhere."""
    best: dict[str, ListTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.ndcg):
        best[trial.family] = trial
    top = max(max(trial.ndcg for trial in trials), 1e-9)
    ndcgs = [best[family.name].ndcg if family.name in best else 0.0 for family in families]
    worth = np.exp(50 * (np.array(ndcgs) / top - 1))
    family = families[int(random.choice(len(families), p=worth / worth.sum()))]
    winner = best.get(family.name)
    width = 0.35 * (1 - len(trials) / (fits + 1)) + 0.1
    if winner is None or random.random() < 0.25:
        return family, family.draw(random)
    return family, family.draw(random, around=winner.config, width=width)


def _trial(
    number: int, family: ListFamily, config: Any, data: ListData, holdout: ListHoldout, seed: int
) -> ListTrial:
    began = time.perf_counter()
    ranker = family.fit(data, config, seed=derive_seed(seed, "lists", family.name))
    scores = unseen_scores(ranker, data, holdout.users, known=True)
    judged = evaluate_lists(best_of(scores, 10), holdout.relevant)
    return ListTrial(number, family.name, config, judged.ndcg, judged.precision, time.perf_counter() - began)


def _pool(trials: Sequence[ListTrial]) -> list[ListTrial]:
    """The trials that the blend may take: each family's best first, then the rest, best first."""
    ranked = sorted(trials, key=lambda trial: (-trial.ndcg, trial.number))
    taken: dict[str, int] = {}
    firsts: list[ListTrial] = []
    others: list[ListTrial] = []
    for trial in ranked:
        count = taken.get(trial.family, 0)
        if count < PER_FAMILY and trial.ndcg > 0.8 * ranked[0].ndcg:
            taken[trial.family] = count + 1
            (others if count else firsts).append(trial)
    return sorted((firsts[:4] + others)[:POOL] or ranked[:1], key=lambda trial: trial.number)


def _cross_fitted(
    pool: Sequence[ListTrial],
    data: ListData,
    holdout: ListHoldout,
    seed: int,
    folds: int,
    until: float,
    progress: Progress,
) -> tuple[tuple[ListMember, ...], JsonObject]:
    """Weights by greedy selection on people whom no member was fitted on."""
    users = holdout.users
    random = np.random.default_rng(derive_seed(seed, "lists", "people"))
    fold_of = random.integers(folds if folds > 1 else 4, size=len(users))
    rows: list[NDArray[np.int64]] = []
    scores: list[list[NDArray[np.float32]]] = [[] for _ in pool]
    for fold in range(folds):
        if rows and time.perf_counter() > until:
            break
        left_out = np.flatnonzero(fold_of == fold)
        if not len(left_out):
            continue
        rest = data.without_users(users[left_out])
        rows.append(left_out)
        for place, trial in enumerate(pool):
            family = LIST_FAMILIES[trial.family]
            ranker = family.fit(rest, trial.config, seed=derive_seed(seed, "lists", trial.family))
            scores[place].append(unseen_scores(ranker, data, users[left_out], known=False))
    order = np.concatenate(rows)
    blend = blend_greedily([np.concatenate(parts) for parts in scores], holdout.relevant[order])
    members = tuple(
        ListMember(trial.family, trial.config, float(weight))
        for trial, weight in zip(pool, blend.weights, strict=True)
        if weight > 0
    )
    progress(
        f"lists: {' + '.join(member.family for member in members)}, NDCG@10 {blend.ndcg:.4f} on "
        f"{len(order)} people no member was fitted on (best alone {blend.alone.max():.4f})"
    )
    report: JsonObject = {
        "people": len(order),
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


def _fitted(members: Sequence[ListMember], data: ListData, seed: int) -> Ranker:
    parts = [(member.fit(data, seed=seed), member.weight) for member in members]
    return sum_rankers(parts, family="+".join(sorted({member.family for member in members})))


def unseen_scores(
    ranker: Ranker, data: ListData, users: NDArray[np.int64], *, known: bool
) -> NDArray[np.float32]:
    """(len(users), items) scores of what each user has not rated, -inf for what they have.

    Args:
        ranker: Fitted on ``data``, or on a part of it without ``users``.
        data: Their histories.
        users: Rows.
        known: Whether the ranker was fitted on these users, so that their factors are looked up.
    """
    scale = data.ratings.scale
    histories = [history_of(data.rated, int(user), scale) for user in users]
    rows = [int(user) for user in users] if known else None
    scores = ranker.scores(histories, users=rows)
    for row, history in enumerate(histories):
        scores[row, history.items] = -np.inf
    return scores


def _sampled(ratings: Ratings, random: np.random.Generator) -> Ratings:
    """Whole people, as many as keep it near SAMPLE_RATINGS."""
    if len(ratings) <= SAMPLE_RATINGS:
        return ratings
    counts = np.bincount(ratings.users, minlength=ratings.user_count)
    order = random.permutation(ratings.user_count)
    kept = np.zeros(ratings.user_count, dtype=np.bool_)
    kept[order[np.cumsum(counts[order]) <= SAMPLE_RATINGS]] = True
    return ratings.take(np.flatnonzero(kept[ratings.users]))
