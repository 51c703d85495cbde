"""Two releases of different list searches: offline difference, split test and interleaved test side by side.

    python -m tests.benchmarks.release_ab --data ml-100k

Both searches see all but the newest quarter of each person's ratings; each leaves a release. Replayed is what
people did next: everybody comes once, in the order of their first new rating, is shown a list by the
product's assignment (or both releases' lists, interleaved), and converts on what they really rated. They
never saw our lists, so figures are low for both alike. Verdicts are the product's, alpha 0.05.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.split import Split, TrainingData
from recsys.evaluation import recommend_lists
from recsys.metrics.ranking import Lists, evaluate_lists, pair_matrix
from recsys.metrics.significance import mean_difference
from recsys.ranking.list_ensemble import blend_lists
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_validation import ListValidation
from recsys.release.load import load_release
from recsys.release.pack import pack_release
from recsys.release.recommender import Recommender
from search.config.plan import make_plan
from search.sampling.list_search import search_lists
from serving.assignment import Assigner, reallocate
from serving.domain import ArmSpec, ExperimentState
from serving.experiments.aggregates import Aggregates
from serving.experiments.outcomes import ArmComparison, compare
from serving.experiments.preference import compare_preferences
from serving.experiments.team_draft import team_draft
from tests.benchmarks.list_protocol import cut_lists
from tests.benchmarks.verdicts import LIMITS, WINDOW
from tests.releases import fit_member
from tests.serving.made_events import make_exposure, make_feedback

ARMS = ("control", "treatment")
COUNT = 10
METRIC = "hit_rate"


@dataclass(frozen=True, eq=False)
class Behaviour:
    """``users`` (n,) rows in the order of their coming; ``rated`` what each then rated, by user row."""

    users: list[int]
    rated: dict[int, set[int]]

    @classmethod
    def of(cls, test: Ratings) -> Behaviour:
        """From the ratings that came next."""
        times = np.arange(len(test)) if test.times is None else test.times
        rated: dict[int, set[int]] = {}
        for row in np.argsort(times, kind="stable"):
            rated.setdefault(int(test.users[row]), set()).add(int(test.items[row]))
        return cls(list(rated), rated)


def make_searched_release(folder: Path, dataset: Dataset, *, families: Sequence[str], trials: int) -> str:
    """Searches ``families`` of lists on all of ``dataset`` and packs the blend beside a bias model. Gives the
    families of the blend."""
    ratings = dataset.ratings
    plan = make_plan({"list_trials": trials, "list_families": dict.fromkeys(families, 1.0)}, {})
    validation = ListValidation.of(ratings, shape="newest", seed=plan.seed)
    selection = blend_lists(search_lists(validation, plan), validation)
    none = np.empty(0, dtype=np.int64)
    pack_release(
        folder,
        dataset=dataset,
        split=Split("random", 0, np.arange(len(ratings)), none, none, none, none, "0" * 64),
        trained_on=["train"],
        members=[fit_member("bias-0", TrainingData(train=ratings, valid=ratings.take(none)))],
        method="mean",
        ranker=selection.fit(ratings, seed=plan.seed),
    )
    return selection.family


def split_test(lists: dict[str, dict[int, list[str]]], behaviour: Behaviour, *, seed: int) -> ArmComparison:
    """Everybody is shown their arm's list."""
    state = reallocate(
        ExperimentState("main", 1, f"salt{seed}", tuple(ArmSpec(arm, "r", 0.5) for arm in ARMS)), None
    )
    assigner, aggregates = Assigner(state), Aggregates(frozenset(ARMS), WINDOW)
    for at, user in enumerate(behaviour.users):
        arm = assigner.assign(f"u{user}").arm
        _show(aggregates, at, user, arm, tuple(lists[arm][user]), (), behaviour.rated[user])
    return compare(
        aggregates,
        [state],
        control=ARMS[0],
        treatment=ARMS[1],
        metric=METRIC,
        limits=replace(LIMITS, alpha=0.05),
        now=10 * WINDOW,
    )


def interleaved_test(
    lists: dict[str, dict[int, list[str]]], behaviour: Behaviour, *, seed: int
) -> ArmComparison:
    """Everybody is shown both arms' items."""
    aggregates = Aggregates(frozenset(ARMS), WINDOW, interleaved=True)
    for at, user in enumerate(behaviour.users):
        draft = team_draft({arm: lists[arm][user] for arm in ARMS}, COUNT, seed=f"{seed}-{user}")
        _show(aggregates, at, user, ARMS[0], draft.items, draft.teams, behaviour.rated[user])
    return compare_preferences(
        aggregates,
        control=ARMS[0],
        treatment=ARMS[1],
        metric=METRIC,
        limits=replace(LIMITS, alpha=0.05),
        now=10 * WINDOW,
    )


def _show(
    aggregates: Aggregates,
    at: int,
    user: int,
    arm: str,
    items: tuple[str, ...],
    teams: tuple[str, ...],
    rated: set[int],
) -> None:
    shown = make_exposure(f"x{user}", at, f"u{user}", arm, 1, items, teams=teams)
    aggregates.add_exposure(shown)
    for item in items:
        if int(item) in rated:
            done = make_feedback(f"{user}-{item}", f"x{user}", f"u{user}", "click", item, None, None, at)
            aggregates.add_feedback(done, shown)


def words_of(name: str, found: ArmComparison) -> str:
    """One line: the estimate with its interval at every look, and the verdict."""
    assert found.interval is not None
    ends = f"{found.interval.estimate:+.4f} ({found.interval.low:+.4f} to {found.interval.high:+.4f})"
    return f"{name}: {ends}; {found.verdict.decision.value}: {found.verdict.words}"


def main(words: Sequence[str] | None = None) -> int:
    """Prints what the searches chose, how the lists differ, and the three judgements."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.release_ab", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--control", default="popularity,random_walk", help="list families of one search")
    made.add_argument("--treatment", default=",".join(LIST_FAMILIES), help="of the other (default all)")
    made.add_argument("--trials", type=int, default=10, help="list trials of each search (default 10)")
    made.add_argument("--seed", type=int, default=0, help="of the assignment (default 0)")
    options = made.parse_args(words)
    dataset = load_dataset(options.data)
    cut = cut_lists(dataset, "newest", seed=0)
    known = replace(dataset, ratings=cut.train)
    behaviour, lists = Behaviour.of(cut.test), {}
    by_row: dict[str, Lists] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arm, families in zip(ARMS, (options.control, options.treatment), strict=True):
            index = Path(folder) / arm
            chosen = make_searched_release(index, known, families=families.split(","), trials=options.trials)
            release = load_release(index)
            by_row[arm] = recommend_lists(Recommender(release), cut.users, count=COUNT)
            lists[arm] = {
                int(user): [str(item) for item in row if item >= 0]
                for user, row in zip(cut.users, by_row[arm], strict=True)
            }
            print(
                f"{arm}: release {release.release_id[:12]}, searched {families}: blend {chosen}", flush=True
            )
    relevant = pair_matrix(cut.test)[cut.users]
    ndcg = [evaluate_lists(by_row[arm], relevant).by_user["ndcg"] for arm in ARMS]
    same = [set(lists[ARMS[0]][int(user)]) & set(lists[ARMS[1]][int(user)]) for user in cut.users]
    differ = np.mean([lists[ARMS[0]][int(user)] != lists[ARMS[1]][int(user)] for user in cut.users])
    common = np.mean([len(items) for items in same])
    print(f"{len(same):,} people: {differ:.1%} get another list, {common:.1f} items in common")
    offline = mean_difference(ndcg[1], ndcg[0], seed=0)
    print(f"offline NDCG@10, paired: {offline.value:+.4f} ({offline.low:+.4f} to {offline.high:+.4f})")
    print(words_of("split, hits a list", split_test(lists, behaviour, seed=options.seed)))
    print(words_of("interleaved, preference", interleaved_test(lists, behaviour, seed=options.seed)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
