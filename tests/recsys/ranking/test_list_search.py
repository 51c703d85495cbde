"""What list trials are judged on and blended to: the holdout, the blend, and what is released of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.data.ratings import Ratings
from recsys.errors import InputError
from recsys.metrics.ranking import best_of, evaluate_lists, pair_matrix
from recsys.ranking.greedy_blend import blend_greedily
from recsys.ranking.list_data import ListData
from recsys.ranking.list_ensemble import ListTrial, blend_lists, judge_starts
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_holdout import hold_out, hold_out_people, holdout_shape
from recsys.ranking.list_selection import fixed_lists
from recsys.ranking.list_validation import ListValidation, unseen_scores
from recsys.seeds import derive_seed
from tests.benchmarks.list_protocol import cut_lists
from tests.releases import make_dataset

DATASET = make_dataset(users=150, items=40, seed=5)


@pytest.mark.parametrize("shape", ["random", "newest"])
def test_a_quarter_of_each_person_is_held_out(shape: str) -> None:
    ratings = DATASET.ratings
    holdout = hold_out(ratings, shape=shape, seed=0, most_users=10_000)  # type: ignore[arg-type]
    assert len(holdout.known) + holdout.relevant.nnz == len(ratings)
    known = pair_matrix(holdout.known)
    assert not known[holdout.users].multiply(holdout.relevant).nnz
    counts = np.bincount(ratings.users, minlength=ratings.user_count)
    kept = np.bincount(holdout.known.users, minlength=ratings.user_count)
    expected = np.minimum(np.maximum(np.rint(0.25 * counts), 1), np.maximum(counts - 1, 0))
    np.testing.assert_array_equal(counts - kept, expected)
    assert (counts[holdout.users] > 1).all()
    if shape == "newest":
        assert ratings.times is not None
        assert holdout.known.times is not None
        latest = np.full(ratings.user_count, -1)
        np.maximum.at(latest, holdout.known.users, holdout.known.times)
        pairs = {
            (int(u), int(i)): int(t)
            for u, i, t in zip(ratings.users, ratings.items, ratings.times, strict=True)
        }
        for row, user in enumerate(holdout.users):
            assert all(pairs[int(user), int(i)] >= latest[user] for i in holdout.relevant[row].indices)


def test_the_holdout_is_shaped_like_what_judges_the_lists() -> None:
    ratings = DATASET.ratings
    assert holdout_shape("per-user", ratings) == "random"
    assert holdout_shape("per-user,gate=off", ratings) == "random"
    assert holdout_shape("random", ratings) == "newest"
    assert holdout_shape("temporal", ratings) == "newest"
    timeless = Ratings(
        ratings.users,
        ratings.items,
        ratings.values,
        None,
        ratings.scale,
        ratings.user_count,
        ratings.item_count,
    )
    assert holdout_shape("random", timeless) == "random"


def test_greedy_selection_takes_what_helps_and_leaves_what_does_not() -> None:
    random = np.random.default_rng(0)
    relevant = sp.csr_matrix(random.random((80, 60)) < 0.1)
    truth = relevant.toarray().astype(np.float32)
    first, second = (
        truth * (random.random(truth.shape) < 0.5) + 0.5 * random.random(truth.shape) for _ in "ab"
    )
    noise = random.random(truth.shape)
    scores = [array.astype(np.float32) for array in (noise, first, second)]
    blend = blend_greedily(scores, relevant)
    assert blend.weights[0] == 0
    assert (blend.weights[1:] > 0).all()
    mixed = sum(np.float32(weight) * array for weight, array in zip(blend.weights, scores, strict=True))
    ndcg = evaluate_lists(best_of(np.asarray(mixed), 10), relevant).ndcg
    assert ndcg == pytest.approx(blend.ndcg, abs=0.01)
    assert blend.ndcg > blend.alone.max()
    same = scores[int(np.argmax(blend.alone))].copy()  # a family that adds nothing, but is near the best
    assert blend_greedily([*scores[1:], same], relevant, families=["a", "a", "b"]).weights[2] > 0
    assert blend_greedily([*scores, same], relevant, families=["c", "a", "a", "b"]).weights[0] == 0
    scaled = blend_greedily([scores[0], 100 * scores[1], scores[2]], relevant)
    np.testing.assert_allclose(scaled.weights, blend.weights / [1, 100, 1], rtol=1e-4)
    with pytest.raises(ValueError, match="no members"):
        blend_greedily([], relevant)


def validation_of(
    ratings: Ratings = DATASET.ratings, *, seed: int = 1, shape: str = "random"
) -> ListValidation:
    return ListValidation.of(ratings, shape=shape, seed=seed)  # type: ignore[arg-type]


def some_trials(validation: ListValidation) -> list[ListTrial]:
    """A trial of each of some families."""
    trials = []
    for number, name in enumerate(("als", "ease", "random_walk", "popularity")):
        config = LIST_FAMILIES[name].usable(LIST_FAMILIES[name].starts[0], validation.data)
        trials.append(ListTrial(number, name, config, validation.judge(name, config)))
    return trials


def test_a_blend_is_repeatable_and_beats_the_floor() -> None:
    validation = validation_of()
    trials = some_trials(validation)
    lines: list[str] = []
    first = blend_lists(trials, validation, progress=lines.append)
    again = blend_lists(trials, validation_of())
    assert first.members == again.members
    assert first.newcomers == again.newcomers
    assert len(lines) == 1
    report = first.report()
    assert [row["number"] for row in report["tried"]] == [0, 1, 2, 3]
    alone = [candidate["ndcg_at_10"] for candidate in report["blend"]["candidates"]]
    assert report["blend"]["ndcg_at_10"] >= 0.99 * max(alone)
    assert report["blend"]["people"] == len(validation.holdout.users)
    assert max(trial.figures.ndcg for trial in trials[:3]) > trials[3].figures.ndcg
    assert blend_lists(some_trials(validation_of(seed=2)), validation_of(seed=2)).members != first.members


def test_the_holdout_does_not_depend_on_the_order_of_rows() -> None:
    ratings = DATASET.ratings
    shuffled = ratings.take(np.random.default_rng(0).permutation(len(ratings)))
    one, other = validation_of(), validation_of(shuffled)
    assert (one.holdout.relevant != other.holdout.relevant).nnz == 0
    assert one.judge("popularity", LIST_FAMILIES["popularity"].starts[0]).ndcg == pytest.approx(
        other.judge("popularity", LIST_FAMILIES["popularity"].starts[0]).ndcg
    )


def test_what_was_chosen_is_fitted_on_any_ratings_and_lists_no_seen_item() -> None:
    validation = validation_of(shape="newest")
    selection = blend_lists(some_trials(validation), validation)
    ranker = selection.fit(DATASET.ratings, seed=derive_seed(1, "x"))
    assert ranker.item_count == DATASET.ratings.item_count
    data = ListData(DATASET.ratings)
    users = np.arange(20)
    scores = unseen_scores(ranker, data, users, known=True)
    assert np.isneginf(scores[data.seen[users].toarray() > 0]).all()


def test_where_no_list_can_be_judged_lists_are_popular_items() -> None:
    ratings = DATASET.ratings
    rows = np.unique(ratings.users, return_index=True)[1]
    selection = blend_lists([], validation_of(ratings.take(rows)))
    assert selection.family == "popularity"
    assert "nobody has two ratings" in selection.report()["reason"]
    users, items = (part.ravel().astype(np.int32) for part in np.indices((8, 6)))
    values = np.full(48, 3, dtype=np.float32)
    complete = Ratings(users, items, values, None, ratings.scale, 8, 6)
    assert "everybody has rated every item" in blend_lists([], validation_of(complete)).reason


def test_a_list_may_take_so_many_milliseconds() -> None:
    """The blend's members together; the fastest alone where none is fast enough."""
    validation = validation_of()
    slow, *others = some_trials(validation)
    slow = replace(slow, figures=replace(slow.figures, milliseconds=50.0, ndcg=0.9))
    others = [replace(one, figures=replace(one.figures, milliseconds=1.0)) for one in others]
    within = blend_lists([slow, *others], validation, max_milliseconds=2.5)
    assert "als" not in within.family
    assert 1 <= len(within.members) <= 2
    assert blend_lists([slow, *others], validation, max_milliseconds=0.1).family in {"ease", "random_walk"}
    scores = [np.eye(4, dtype=np.float32)[:, ::-1] + 0.1, np.eye(4, dtype=np.float32)]
    relevant = sp.csr_matrix(np.eye(4) + np.eye(4)[:, ::-1])
    assert (blend_greedily(scores, relevant, costs=[1, 1], most=2).weights > 0).sum() >= 1
    assert (blend_greedily(scores, relevant, costs=[1, 1], most=1.5).weights > 0).sum() == 1


def test_without_trials_every_familys_starts_are_judged() -> None:
    validation = validation_of()
    trials = judge_starts(validation)
    assert {trial.family for trial in trials} == {
        name for name, one in LIST_FAMILIES.items() if one.share > 0
    }
    assert len({(trial.family, trial.config) for trial in trials}) == len(trials)


def test_an_objective_of_ratings_alone_searches_no_lists() -> None:
    selection = fixed_lists()
    assert selection.family == "als"
    assert selection.fit(DATASET.ratings, seed=0).folds_in


def test_strong_generalisation_holds_people_out_whole() -> None:
    ratings = DATASET.ratings
    strong = hold_out_people(ratings, users=20, seed=3)
    assert len(strong.users) == 20
    assert not np.isin(strong.train.users, strong.users).any()
    theirs = np.isin(ratings.users, strong.users)
    assert len(strong.histories) + len(strong.test) == theirs.sum()
    assert len(strong.train) == (~theirs).sum()
    assert not pair_matrix(strong.histories).multiply(pair_matrix(strong.test)).nnz
    np.testing.assert_array_equal(np.unique(strong.test.users), strong.users)
    with pytest.raises(InputError, match=r"strong:9999: .* hold out fewer"):
        hold_out_people(ratings, users=9999, seed=0)


@pytest.mark.parametrize("protocol", ["per-user", "newest", "leave-last", "temporal", "random", "strong:20"])
def test_every_protocol_cuts_people_who_have_a_history_and_something_to_find(protocol: str) -> None:
    cut = cut_lists(DATASET, protocol, seed=1)
    known, wanted = pair_matrix(cut.histories), pair_matrix(cut.test)
    assert not known.multiply(wanted).nnz
    assert (np.diff(known[cut.users].indptr) > 0).all()
    assert (np.diff(wanted[cut.users].indptr) > 0).all()
    assert np.isin(cut.train.users, cut.users).any() != cut.fold_in
    assert cut.fold_in == protocol.startswith("strong")
    if protocol in ("newest", "leave-last"):
        assert cut.histories.times is not None
        assert cut.test.times is not None
        latest, first = np.full(150, -1), np.full(150, 2**62)
        np.maximum.at(latest, cut.histories.users, cut.histories.times)
        np.minimum.at(first, cut.test.users, cut.test.times)
        assert (first[cut.users] >= latest[cut.users]).all()


@pytest.mark.parametrize(
    ("protocol", "message"),
    [("strong", "expected strong:USERS"), ("strong:x", "expected strong:USERS"), ("weekly", "no protocol")],
)
def test_a_protocol_of_no_such_name_is_refused(protocol: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cut_lists(DATASET, protocol, seed=0)
