"""The hybrid VAE's list head: bounds at three doors, numpy against torch, the blend, early stopping."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.bounds import DataShape, parameter_limit
from recsys.data.synthetic import generate
from recsys.errors import InputError
from recsys.models.base import History
from recsys.ranking.hybrid_vae_lists import (
    NAME,
    HybridVaeListsConfig,
    parameter_count,
    require_safe_lists,
)
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES, fit_list_head
from recsys.ranking.list_head_training import ListHead
from recsys.ranking.list_validation import ListValidation
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_sum import sum_rankers
from recsys.ranking.rating_matrix import history_of
from recsys.ranking.retrieval import RetrievalRequest, Retriever
from recsys.release.pack import require_safe_ranker
from search.config.plan import make_plan
from search.sampling.trial_slots import list_slots

DATASET = generate(users=120, items=60, ratings=3000, seed=0).dataset
DATA = ListData(DATASET.ratings)
CONFIG = HybridVaeListsConfig(latent=12, hidden=16, epochs=4, learning_rate=0.005)


@pytest.fixture(scope="module")
def trained() -> Ranker:
    return fit_list_head(DATA, CONFIG, seed=0)


def some_histories() -> list[History]:
    return [history_of(DATA.rated, user, DATASET.ratings.scale) for user in range(20)]


def test_a_config_outside_the_bounds_cannot_be_made() -> None:
    with pytest.raises(InputError, match="kl_weight"):
        HybridVaeListsConfig(kl_weight=0.016)
    with pytest.raises(InputError, match="latent"):
        HybridVaeListsConfig(latent=97)
    with pytest.raises(InputError, match="hidden"):
        HybridVaeListsConfig(hidden=769)
    with pytest.raises(InputError, match="batch_size"):
        HybridVaeListsConfig(batch_size=512)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="kl_weight"):
        replace(CONFIG, kl_weight=0.02)


def test_the_largest_head_is_inside_the_capacity_on_any_data() -> None:
    largest = HybridVaeListsConfig(latent=96, hidden=768)
    for shape in (DataShape(1, 1), DataShape(943, 1682), DataShape(6040, 3706), DataShape(200_000, 84_432)):
        assert parameter_count(largest, shape.items) <= parameter_limit(shape)
        require_safe_lists(largest, shape)


def test_parameters_are_counted_as_the_network_has_them(trained: Ranker) -> None:
    head = ListHead(trained.arrays["network_0_items"], CONFIG.hidden, torch.Generator())
    counted = sum(value.numel() for value in head.parameters())
    assert counted == parameter_count(CONFIG, DATASET.ratings.item_count)


def test_a_person_is_folded_in_as_known_ones_are(trained: Ranker) -> None:
    histories = some_histories()
    known = trained.scores(histories, users=list(range(20)))
    folded = trained.scores(histories)
    assert np.allclose(known, folded, atol=2e-3 * np.abs(known).max())


def test_it_learns_from_its_start_where_that_makes_better_lists() -> None:
    """Nobody has the ten ratings of a judged person, so all epochs count; what was dropped is found."""
    few = DATASET.ratings.take(np.flatnonzero(DATASET.ratings.items % 10 == 0))
    ranker = fit_list_head(ListData(few), CONFIG, seed=0)
    assert np.diff(ListData(few).rated.indptr).max() < 10
    assert np.abs(ranker.arrays["network_0_w2"]).max() > 0  # the residual layer has moved
    assert np.abs(ranker.arrays["factors"][:, -1]).max() > 0  # and the offsets


def test_blended_and_saved_it_scores_the_sum_and_is_retrieved_exactly(
    trained: Ranker, tmp_path: Path
) -> None:
    als = LIST_FAMILIES["als"].fit(DATA, LIST_FAMILIES["als"].starts[0], seed=0)
    ease = LIST_FAMILIES["ease"].fit(DATA, LIST_FAMILIES["ease"].starts[0], seed=0)
    histories = some_histories()
    for parts in ([(als, 0.5), (trained, 0.25)], [(trained, 0.25), (als, 0.5), (ease, 2.0)]):
        blend = sum_rankers(parts, family="blend")
        blend.save(tmp_path / str(len(parts)))
        opened = Ranker.open(tmp_path / str(len(parts)))
        expected = np.sum([weight * part.scores(histories) for part, weight in parts], axis=0)
        assert np.allclose(opened.scores(histories), expected, rtol=1e-4, atol=1e-4)
        request = RetrievalRequest(histories[0], None, 10, exclude=[histories[0].items])
        result = Retriever(opened, fewest=1).best([request])[0].items
        scores = expected[0].copy()
        scores[histories[0].items] = -np.inf
        assert result.tolist() == np.argsort(-scores, kind="stable")[:10].tolist()


def test_training_is_stopped_where_lists_get_no_better() -> None:
    """With a rate that ruins it, the state of before the first step is what remains: ALS's own lists."""
    ruined = fit_list_head(DATA, replace(CONFIG, learning_rate=5.0), seed=0)
    als = ruined.arrays["network_0_items"]
    kept = np.corrcoef(ruined.arrays["factors"][:, :-1].ravel(), als.ravel())[0, 1]
    assert kept > 0.99


def test_it_is_searched_only_where_a_plan_names_it() -> None:
    assert NAME not in {slot.family for slot in list_slots(make_plan({}, {}))}
    plan = make_plan({"list_families": {NAME: 1.0}, "list_trials": 2}, {})
    assert {slot.family for slot in list_slots(plan)} == {NAME}


def test_a_release_refuses_a_head_outside_the_bounds(trained: Ranker) -> None:
    settings = {"members": [{"family": NAME, "config": asdict(CONFIG) | {"kl_weight": 0.1}, "weight": 1.0}]}
    with pytest.raises(InputError, match="kl_weight"):
        require_safe_ranker(DATASET, Ranker("blend", settings, {"base": np.zeros(60, dtype=np.float32)}))
    require_safe_ranker(DATASET, trained)


def test_a_search_hears_of_every_epoch() -> None:
    """The steps of the first draw, and the figures of a fit at once."""
    validation = ListValidation.of(DATASET.ratings, shape="random", seed=0, draws=2)
    steps = validation.evaluate_by_epochs(NAME, CONFIG)
    heard = []
    try:
        while True:
            heard.append(next(steps))
    except StopIteration as end:
        figures = end.value
    assert 1 <= len(heard) <= CONFIG.epochs
    assert heard == sorted(heard)  # the best so far
    at_once = validation.evaluate(NAME, CONFIG)
    assert (figures.ndcg, figures.precision) == (at_once.ndcg, at_once.precision)
    ease = LIST_FAMILIES["ease"].starts[0]
    assert list(validation.evaluate_by_epochs("ease", ease)) == []
