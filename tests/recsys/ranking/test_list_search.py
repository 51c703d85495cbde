"""What list trials are judged on and blended to: the holdout, the blend, and what is released of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.data.ratings import Ratings
from recsys.errors import InputError
from recsys.metrics.ranking import best_of, evaluate_lists, pair_matrix
from recsys.ranking.bagged_blend import CandidateScores, bagged_weights
from recsys.ranking.list_data import ListData
from recsys.ranking.list_ensemble import ListTrial, blend_lists, evaluate_starts
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_holdout import hold_out, holdout_shape
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


def judged_lists() -> tuple[list[np.ndarray], sp.csr_matrix]:
    """Scores of noise, and of two members that each know half of what is relevant."""
    random = np.random.default_rng(0)
    relevant = sp.csr_matrix(random.random((800, 60)) < 0.1)
    truth = relevant.toarray().astype(np.float32)
    half = random.random(truth.shape) < 0.5
    first, second = (truth * known + 0.5 * random.random(truth.shape) for known in (half, ~half))
    noise = random.random(truth.shape)
    return [array.astype(np.float32) for array in (noise, first, second)], relevant


def test_bagged_selection_takes_what_helps_and_leaves_what_does_not() -> None:
    scores, relevant = judged_lists()
    blend = bagged_weights(CandidateScores.of(scores, relevant), seed=0)
    assert blend.weights[0] == 0
    assert (blend.weights[1:] > 0).all()
    alone = [evaluate_lists(best_of(entry, 10), relevant).ndcg for entry in scores]
    np.testing.assert_allclose(blend.alone, alone, rtol=1e-6)
    mixed = sum(np.float32(weight) * array for weight, array in zip(blend.weights, scores, strict=True))
    assert blend.ndcg == pytest.approx(evaluate_lists(best_of(np.asarray(mixed), 10), relevant).ndcg)
    assert blend.ndcg > blend.alone.max()
    scaled = bagged_weights(CandidateScores.of([scores[0], 100 * scores[1], scores[2]], relevant), seed=0)
    np.testing.assert_allclose(scaled.weights, blend.weights / [1, 100, 1], rtol=1e-4)
    alike = bagged_weights(CandidateScores.of([scores[1]] * 4, relevant), seed=0).weights
    assert (alike > 0).sum() > 1  # the bags differ in members: weights lean to equal where nothing tells
    with pytest.raises(ValueError, match="no members"):
        CandidateScores.of([], relevant)
    with pytest.raises(ValueError, match="no list has"):
        CandidateScores.of(scores, sp.csr_matrix(relevant.shape))


def test_lists_of_several_draws_are_judged_together() -> None:
    scores, relevant = judged_lists()
    parts = [
        CandidateScores.of([entry[rows] for entry in scores], relevant[rows])
        for rows in (np.arange(300), np.arange(300, 800))
    ]
    joined = CandidateScores.concatenate(parts)
    whole = bagged_weights(CandidateScores.of(scores, relevant), seed=3)
    together = bagged_weights(joined, seed=3)
    np.testing.assert_allclose(together.weights, whole.weights, rtol=1e-5)
    np.testing.assert_allclose(together.alone, whole.alone)


def test_lists_of_few_items_are_blended() -> None:
    scores = [np.eye(4, dtype=np.float32)[:, ::-1] + 0.1, np.eye(4, dtype=np.float32)]
    relevant = sp.csr_matrix(np.eye(4) + np.eye(4)[:, ::-1])
    judged = CandidateScores.of(scores, relevant)
    assert (bagged_weights(judged, seed=0, costs=[1, 1], most=2).weights > 0).sum() >= 1
    assert (bagged_weights(judged, seed=0, costs=[1, 1], most=1.5).weights > 0).sum() == 1


@pytest.mark.parametrize("shape", ["random", "newest"])
def test_every_draw_holds_out_other_ratings_and_says_what_share_is_left(shape: str) -> None:
    validation = validation_of(shape=shape)
    assert len(validation.draws) == 3
    held = [draw.holdout.relevant for draw in validation.draws]
    assert all((held[0] != other).nnz for other in held[1:])
    for draw in validation.draws:
        assert draw.share == pytest.approx(len(draw.data.ratings) / len(DATASET.ratings))
        known = pair_matrix(draw.data.ratings)
        assert not known[draw.holdout.users].multiply(draw.holdout.relevant).nnz
    shares = [round(draw.share, 2) for draw in validation.draws]
    assert shares == ([0.75, 0.75, 0.75] if shape == "random" else pytest.approx([0.75, 0.67, 0.6], abs=0.02))


def test_regularisation_follows_the_amount_of_data() -> None:
    """A trial's config is meant for all ratings; three quarters of them want more ridge, of ALS."""
    als = LIST_FAMILIES["als"]
    config = replace(als.starts[0], ridge=0.03)
    assert als.for_share(config, 0.25).ridge == pytest.approx(0.06)
    assert replace(als.for_share(config, 0.25), ridge=0.03) == config
    validation = validation_of()
    fitted = validation.fit(validation.draws[0], "als", config)
    assert fitted.settings["config"]["ridge"] == pytest.approx(0.03 / np.sqrt(validation.draws[0].share))
    ease = LIST_FAMILIES["ease"].starts[0]
    assert LIST_FAMILIES["ease"].for_share(ease, 0.25) == ease


def validation_of(
    ratings: Ratings = DATASET.ratings, *, seed: int = 1, shape: str = "random"
) -> ListValidation:
    return ListValidation.of(ratings, shape=shape, seed=seed)  # type: ignore[arg-type]


def some_trials(validation: ListValidation) -> list[ListTrial]:
    """A trial of each of some families."""
    trials = []
    for number, name in enumerate(("als", "ease", "random_walk", "popularity")):
        config = LIST_FAMILIES[name].usable(LIST_FAMILIES[name].starts[0], validation.data)
        trials.append(ListTrial(number, name, config, validation.evaluate(name, config)))
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
    assert len(alone) == len(trials)  # the floor, popularity, is among them
    assert report["blend"]["ndcg_at_10"] >= max(alone)
    assert report["blend"]["people"] == len(validation.holdout.users)
    assert blend_lists(some_trials(validation_of(seed=2)), validation_of(seed=2)).members != first.members


def test_people_judged_in_blocks_have_the_same_figures_and_blend(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = validation_of()
    trials = some_trials(whole)
    chosen = blend_lists(trials, whole)
    monkeypatch.setattr("recsys.ranking.list_validation.SCORE_CELLS", 7 * DATASET.ratings.item_count)
    cut = validation_of()
    assert len(cut.draws[0].blocks()) == -(-len(cut.holdout.users) // 7)
    np.testing.assert_array_equal(cut.holdout.users, whole.holdout.users)
    for trial in trials:
        figures = cut.evaluate(trial.family, trial.config)
        assert figures.ndcg == pytest.approx(trial.figures.ndcg, rel=1e-9)
        assert figures.precision == pytest.approx(trial.figures.precision, rel=1e-9)
    again = blend_lists(trials, cut)
    assert [(member.family, member.config) for member in again.members] == [
        (member.family, member.config) for member in chosen.members
    ]
    weights = [[member.weight for member in selection.members] for selection in (again, chosen)]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)


def test_as_many_people_judge_a_large_catalogue() -> None:
    ratings = DATASET.ratings
    items = (ratings.items.astype(np.int64) * 997).astype(np.int32)
    wide = Ratings(
        ratings.users, items, ratings.values, ratings.times, ratings.scale, ratings.user_count, 200_000
    )
    assert len(validation_of(wide).holdout.users) == len(validation_of().holdout.users)


def test_the_holdout_does_not_depend_on_the_order_of_rows() -> None:
    ratings = DATASET.ratings
    shuffled = ratings.take(np.random.default_rng(0).permutation(len(ratings)))
    entry, other = validation_of(), validation_of(shuffled)
    assert (entry.holdout.relevant != other.holdout.relevant).nnz == 0
    assert entry.evaluate("popularity", LIST_FAMILIES["popularity"].starts[0]).ndcg == pytest.approx(
        other.evaluate("popularity", LIST_FAMILIES["popularity"].starts[0]).ndcg
    )


def test_what_was_chosen_is_fitted_on_any_ratings_and_lists_no_seen_item() -> None:
    validation = validation_of(shape="newest")
    selection = blend_lists(some_trials(validation), validation)
    ranker = selection.fit(DATASET.ratings, seed=derive_seed(1, "x"))
    assert ranker.item_count == DATASET.ratings.item_count
    data = ListData(DATASET.ratings)
    users = np.arange(20)
    scores = unseen_scores(ranker, data, users, users_fitted=True)
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
    others = [replace(entry, figures=replace(entry.figures, milliseconds=1.0)) for entry in others]
    within = blend_lists([slow, *others], validation, max_milliseconds=2.5)
    assert "als" not in within.family
    assert 1 <= len(within.members) <= 2
    others[0] = replace(others[0], figures=replace(others[0].figures, milliseconds=0.5))
    assert blend_lists([slow, *others], validation, max_milliseconds=0.1).family == others[0].family


def test_without_trials_every_familys_starts_are_judged() -> None:
    validation = validation_of()
    trials = evaluate_starts(validation)
    assert {trial.family for trial in trials} == {
        name for name, entry in LIST_FAMILIES.items() if entry.share > 0
    }
    assert len({(trial.family, trial.config) for trial in trials}) == len(trials)


def test_an_objective_of_ratings_alone_searches_no_lists() -> None:
    selection = fixed_lists()
    assert selection.family == "als"
    assert selection.fit(DATASET.ratings, seed=0).folds_in


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
