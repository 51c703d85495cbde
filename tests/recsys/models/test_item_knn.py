"""Item neighbourhoods against a plain loop over the same formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.errors import InputError
from recsys.models import item_knn
from recsys.models.item_knn import ItemKnnConfig, ItemKnnTrainer
from recsys.models.registry import make_config
from tests.small_ratings import training_data

DATA = training_data()


def trained(config: ItemKnnConfig) -> ItemKnnTrainer:
    trainer = ItemKnnTrainer(config, DATA, epochs=1, seed=0, device=torch.device("cpu"))
    trainer.train_epoch()
    return trainer


def by_hand(trainer: ItemKnnTrainer, user: int, item: int) -> float:
    """Koren's formula for one pair, from the biases alone."""
    train, bias, config = DATA.train, trainer.bias, trainer.config
    left: dict[int, dict[int, float]] = {}
    for u, i, value in zip(train.users.tolist(), train.items.tolist(), train.values.tolist(), strict=True):
        left.setdefault(i, {})[u] = value - bias.mean - bias.user_bias[u] - bias.item_bias[i]

    def deviation(of: int) -> float:
        own = left.get(of, {}).values()
        return float(np.sqrt((sum(value**2 for value in own) + 1) / (len(own) + 1)))

    result = []
    for other, ratings in left.items():
        if other == item or user not in ratings:
            continue
        common = left.get(item, {}).keys() & ratings.keys()
        product = sum(left[item][u] * ratings[u] for u in common)
        similarity = product / (len(common) + config.shrinkage) / deviation(item) / deviation(other)
        result.append((max(similarity, 0.0), ratings[user]))
    result = sorted(result, reverse=True)[: config.neighbours]
    pull = sum(weight * value for weight, value in result)
    stars = bias.mean + bias.user_bias[user] + bias.item_bias[item]
    return float(stars + pull / (sum(weight for weight, _ in result) + config.damping))


def test_predicts_as_the_formula_by_hand() -> None:
    trainer = trained(ItemKnnConfig(shrinkage=5.0, neighbours=6))
    predicted = trainer.predict(DATA.valid)
    scale = DATA.train.scale
    for row in range(0, len(DATA.valid), 29):
        expected = by_hand(trainer, int(DATA.valid.users[row]), int(DATA.valid.items[row]))
        assert predicted[row] == pytest.approx(np.clip(expected, scale.low, scale.high), abs=1e-4)


def test_small_blocks_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ItemKnnConfig(shrinkage=5.0, kept=20, neighbours=10)
    whole = trained(config).predict(DATA.valid)
    monkeypatch.setattr(item_knn, "CELLS", 400)
    np.testing.assert_allclose(trained(config).predict(DATA.valid), whole, atol=1e-5)


def test_a_long_history_counts_with_an_even_part() -> None:
    trainer = trained(ItemKnnConfig())
    counts = np.bincount(DATA.train.users, minlength=DATA.train.user_count)
    assert counts.max() > 10
    kept = np.diff(trainer._residuals(longest=10).indptr)
    np.testing.assert_array_equal(kept, np.minimum(counts, 10))


def test_more_neighbours_than_are_kept_are_refused() -> None:
    with pytest.raises(InputError, match=r"item_knn.neighbours is 50, expected 1 to kept \(40\)"):
        make_config("item_knn", {"neighbours": 50, "kept": 40})
