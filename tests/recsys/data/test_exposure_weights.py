"""Inverse propensities undo what our own lists chose to show: in the fit, in errors and in the blend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.data.data_spec import DataSpec
from recsys.data.event_ratings import read_served
from recsys.data.exposure_weights import CLIP, exposure_weights
from recsys.data.merged_ratings import merge_served
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.ensemble.blend import fit_blend, fit_corrected
from recsys.errors import InputError
from recsys.models.bias import BiasConfig, BiasTrainer
from recsys.models.registry import family_named, make_config
from recsys.training.epoch_metrics import evaluate
from serving.domain import Exposure, Feedback
from serving.events.store import EventStore
from tests.releases import make_dataset

USERS, ITEMS = 1500, 20


def chosen_by_lists(seed: int = 0) -> tuple[Ratings, Ratings]:
    """What lists that show liked items ten times as often bring, weighed; and all pairs, which they hide."""
    random = np.random.default_rng(seed)
    users, items = (part.ravel() for part in np.mgrid[0:USERS, 0:ITEMS].astype(np.int32))
    liked = random.random(len(users)) < 0.3
    values = np.where(liked, 4.5, 2.0).astype(np.float32)
    propensity = np.where(liked, 0.5, 0.05)
    everything = Ratings(users, items, values, None, RatingScale(1, 5), USERS, ITEMS)
    seen = np.flatnonzero(random.random(len(users)) < propensity)
    weights = exposure_weights(propensity[seen].astype(np.float32))
    return replace(everything.take(seen), weights=weights), everything


def test_a_planted_bias_of_what_was_shown_is_undone_in_fit_and_error() -> None:
    seen, everything = chosen_by_lists()
    truth = float(everything.values.mean())  # 2.75
    none = everything.take(np.arange(0))
    plain, weighted = (
        BiasTrainer(BiasConfig(), TrainingData(ratings, none), epochs=1, seed=0, device=None)
        for ratings in (replace(seen, weights=None), seen)
    )
    for trainer in (plain, weighted):
        trainer.train_epoch()
    assert plain.mean + plain.item_bias.mean() > truth + 1.0  # people seem to like nearly all
    assert weighted.mean + weighted.item_bias.mean() == pytest.approx(truth, abs=0.1)
    # Errors as they would be over all pairs, from what the lists let see.
    config = BiasConfig(user_damping=1e9, item_damping=1e9)  # knows nothing of the ratings it is judged on
    mean = BiasTrainer(config, TrainingData(seen, none), epochs=1, seed=0, device=None)
    real, estimate, naive = (
        evaluate(mean, ratings, ratings).rmse for ratings in (everything, seen, replace(seen, weights=None))
    )
    assert estimate == pytest.approx(real, rel=0.02)
    assert naive > 1.1 * real


def test_matrix_factorisation_and_the_blend_weigh_too() -> None:
    seen, everything = chosen_by_lists()
    data = TrainingData(seen, everything.take(np.arange(0)))
    trainer = family_named("mf").build(
        make_config("mf", {"factors": 2}), data, epochs=3, seed=0, device=_cpu()
    )
    for _ in range(3):
        trainer.train_epoch()
    truth = everything.values.mean()
    assert trainer.predict(everything).mean() == pytest.approx(truth, abs=0.25)
    assert seen.values.mean() > truth + 1.0
    low, high = np.full(len(seen), 2.0, np.float32), np.full(len(seen), 4.5, np.float32)
    members = np.stack([low, high])
    blend = fit_corrected(members, seen, seen, seed=0)
    assert blend.correction is None
    assert float(blend.sum(members)[0]) == pytest.approx(truth, abs=0.15)
    unweighted = fit_blend(members, seen.values, seed=0)
    assert float(unweighted.sum(members)[0]) == pytest.approx(float(seen.values.mean()), abs=0.05)


def test_weights_are_clipped_and_have_a_mean_of_one_over_exposed_ratings() -> None:
    weights = exposure_weights(np.array([np.nan, 1.0, 0.5, 0.0001, np.nan], dtype=np.float32))
    assert weights[[0, 4]].tolist() == [1.0, 1.0]
    assert weights[1:4].mean() == pytest.approx(1.0)
    assert weights[3] / weights[1] == pytest.approx(CLIP)
    assert exposure_weights(np.array([], dtype=np.float32)).tolist() == []


def test_the_option_reports_what_it_weighed_and_needs_events(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    base = make_dataset()
    fields: dict[str, Any] = {"items": ("i1", "i2"), "predicted": (3.0, 3.0), "source": "personal"}
    fields |= {"milliseconds": 1.0, "propensities": (0.9, 0.01)}
    shown = Exposure("x", 1e9, "new", "main", "a", 1, "r", **fields)
    rated = [Feedback(f"e{item}", "x", "new", "rating", item, 4.0, 1e9 + 1) for item in ("i1", "i2", "i3")]
    store.add(exposures=[shown], feedback=rated)
    served = read_served(str(tmp_path / "events.db"), base.ratings.scale)
    plain, weighed = merge_served(base, served), merge_served(base, served, weigh=True)
    assert plain.ratings.weights is None
    assert "exposure_weights" not in (plain.lineage or {})
    weights = weighed.ratings.weights
    assert weights is not None
    assert weights[: len(base.ratings)].tolist() == [1.0] * len(base.ratings)
    inverse = np.array([1 / 0.9, CLIP])
    np.testing.assert_allclose(sorted(weights[-3:]), sorted([1.0, *inverse / inverse.mean()]), rtol=1e-5)
    assert (weighed.lineage or {})["exposure_weights"] == {
        "weighed": 2,
        "clip": CLIP,
        "clipped": 1,
        "largest": pytest.approx(CLIP / inverse.mean()),
        "effective": pytest.approx(inverse.sum() ** 2 / np.square(inverse).sum()),
    }
    assert weighed.sha256 != plain.sha256
    assert any("count by their inverse propensity" in note for note in weighed.quality.notes)
    spec = DataSpec("synthetic:users=50,items=40,ratings=600", weigh_exposures=True)
    assert DataSpec.from_json(spec.to_json()) == spec
    with pytest.raises(InputError, match=r"--weigh-exposures weighs lists of --data RUN\+EVENTS"):
        spec.load()


def _cpu() -> object:
    import torch

    return torch.device("cpu")
