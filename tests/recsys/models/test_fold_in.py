"""Folding users in: against Gauss-Newton by torch's own derivatives, and several at once as one by one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys.models.base import History, ModelArtifact
from recsys.models.hybrid_vae import scorer as scoring
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.fold_in import LONG_STEP, ROUNDING, STEP_SHARES
from recsys.models.hybrid_vae.scorer import HybridVaeScorer
from tests.recsys.models.test_ordinal import CONFIG as ORDINAL
from tests.small_ratings import history_of, training_data

DATA = training_data()
EVERY = np.arange(DATA.train.item_count)
KNOWN = DATA.train.user_count - 1  # users with ratings; the last has none
CONFIGS = {
    "formula": HybridVaeConfig(factors=12, hidden=(16, 8), latent=4),
    "whole": replace(ORDINAL, hidden=(16, 12), output="gaussian"),
    "limited": replace(ORDINAL, output="gaussian", history_limit=5, biases=False),
    "attended": replace(ORDINAL, output="gaussian", history="attended", attention_heads=4),
    "sampled": replace(ORDINAL, samples=4),
    "timed": replace(ORDINAL, output="gaussian", biases=False, time="levels"),
    "started": replace(ORDINAL, output="gaussian", start="factorisation", start_factors=3, start_rank=8),
    "ordinal": ORDINAL,
    "skipped": replace(ORDINAL, output="gaussian", skip_connections=True),
}


@cache
def packed(name: str) -> ModelArtifact:
    trainer = FAMILY.build(CONFIGS[name], DATA, epochs=3, seed=4, device=torch.device("cpu"))
    for _ in range(3):
        trainer.train_epoch()
    return trainer.export()


@cache
def scorer_of(name: str) -> HybridVaeScorer:
    return HybridVaeScorer(packed(name), lambda user: history_of(DATA.train, user))


def history(pairs: dict[int, float]) -> History:
    return History(np.array(list(pairs), dtype=np.int32), np.array(list(pairs.values()), dtype=np.float32))


def joined(user: int, pairs: dict[int, float]) -> History:
    """What a known user rated in training, and then ``pairs``."""
    kept = history_of(DATA.train, user)
    old = dict(zip(kept.items.tolist(), kept.values.tolist(), strict=True))
    return history({item: value for item, value in old.items() if item not in pairs} | pairs)


class Plain:
    """One packed network in torch, float64, written out: one user, derivatives by autograd."""

    def __init__(self, member: ModelArtifact) -> None:
        self.member = member
        self.arrays = {name: torch.from_numpy(array).double() for name, array in member.arrays.items()}

    def stars(self, own: Tensor, given: History, items: np.ndarray, draw: Tensor | None = None) -> Tensor:
        arrays, settings, rows = self.arrays, self.member.settings, torch.from_numpy(items).long()
        link: Tensor = torch.zeros(len(items), dtype=torch.double)
        if "item_bias" in arrays:
            link, own = link + own[0] + arrays["item_bias"][rows], own[1:]
        first = arrays["item_half"][rows]
        if "start_items" in arrays:
            size = arrays["start_items"].shape[1]
            start, own = arrays["start_items"][rows] @ own[:size], own[size:]
            link = link + settings["start_offset"] + settings["start_slope"] * start
            first = first + start[:, None] * arrays["first.start"]
        first = first + arrays["first.user"] @ own
        factors = own[: int(settings["dot_product"])]
        if "history.0" in arrays:
            kept = slice(-settings["history_limit"] or None, None)
            rated, values = torch.from_numpy(given.items[kept]).long(), torch.from_numpy(given.values[kept])
            messages = (values.double() - settings["centre"])[:, None] * arrays["history.1"][rated]
            evidence = torch.tensor(max(len(rated), 1), dtype=torch.double)
            if "history.squares" in arrays and len(rated):
                squares = arrays["history.squares"][rated].sum(0)
                evidence = squares.repeat_interleave(messages.shape[1] // len(squares))
            h = (arrays["history.0"][rated] + messages).sum(0) / evidence.sqrt()
            factors = factors + h
            first = first + arrays["first.user_history"] @ h
        if len(factors):
            product = arrays["item_factors"][rows] * factors
            link = link + product.sum(1)
            first = first + product @ arrays["first.product"].T
        depth, x = len(settings["hidden"]), first
        layers: list[Tensor] = []
        for number in range(2 * depth):
            if number == depth:
                encoded, x = x, x @ arrays["mean.weight"].T + arrays["mean.bias"]
                if draw is not None:
                    variance = (encoded @ arrays["log_variance.weight"].T + arrays["log_variance.bias"]).exp()
                    x = x + variance.sqrt() * draw
            if number:
                x = x @ arrays[f"layer.{number}.weight"].T + arrays[f"layer.{number}.bias"]
            if f"layer.{number}.gain" in arrays:
                gain, shift = arrays[f"layer.{number}.gain"], arrays[f"layer.{number}.shift"]
                x = torch.nn.functional.layer_norm(x, gain.shape, gain, shift, 1e-5)
            x = torch.relu(x)
            layers.append(x)
            if f"skip.{number - depth}" in arrays:
                x = x + arrays[f"skip.{number - depth}"] * layers[2 * depth - 1 - number]
        link = link + x @ arrays["output.weight"] + arrays["output.bias"]
        if "ordinal.cuts" not in arrays:
            return self.member.scale.low + self.member.scale.span * torch.sigmoid(link)
        above = torch.sigmoid(settings["sharpness"] * (link[:, None] - arrays["ordinal.cuts"]))
        levels = arrays["ordinal.levels"]
        stars: Tensor = levels[0] + above @ torch.diff(levels)
        return stars

    def answer(self, own: Tensor, given: History, items: np.ndarray) -> Tensor:
        """Averaged over the draws of z, where there are any."""
        draws: list[Tensor | None] = [*self.arrays["draws"]] if "draws" in self.arrays else [None]
        return torch.stack([self.stars(own, given, items, draw) for draw in draws]).mean(dim=0)

    def fold_in(self, given: History) -> Tensor:
        """A new user's own numbers."""
        noise, prior = self.member.settings["noise_variance"], self.arrays["prior.mean"]
        precision, values = 1 / self.arrays["prior.variance"], torch.from_numpy(given.values).double()
        if not len(values):
            return prior

        def cost(own: Tensor) -> Tensor:
            left = values - self.stars(own, given, given.items)
            total: Tensor = left.square().sum() / noise + (precision * (own - prior).square()).sum()
            return total

        slopes = torch.autograd.functional.jacobian(lambda at: self.stars(at, given, given.items), prior)
        left = values - self.stars(prior, given, given.items)
        system = slopes.T @ slopes / noise + torch.diag(precision)
        step: Tensor = torch.linalg.solve(system, slopes.T @ left / noise)
        if (slopes @ step).abs().max() <= LONG_STEP * self.member.scale.span:
            return prior + step
        limit = cost(prior) * (1 + ROUNDING)
        better = [prior + share * step for share in STEP_SHARES]
        return next((tried for tried in better if cost(tried) <= limit), prior)


@pytest.mark.parametrize("trust", [1.0, 0.001])
@pytest.mark.parametrize("name", CONFIGS)
def test_folding_in_is_gauss_newton_by_true_derivatives(name: str, trust: float) -> None:
    """With little noise in a rating whole steps are long, overshoot, and are halved."""
    member = packed(name)
    noise = trust * float(member.settings["noise_variance"])
    member = replace(member, settings=member.settings | {"noise_variance": noise})
    scorer, plain = HybridVaeScorer(member, lambda user: history_of(DATA.train, user)), Plain(member)
    random = np.random.default_rng(1)
    for count in (0, 1, 2, 7, 8, 9, 20, 39):
        items = random.choice(EVERY, count, replace=False).astype(np.int32)
        given = History(items, (random.integers(1, 11, count) / 2).astype(np.float32))
        expected = plain.answer(plain.fold_in(given), given, EVERY)
        stars = scorer.score(scorer.fold_in(given), EVERY)
        np.testing.assert_allclose(stars, expected, atol=1e-5)


ratings = st.dictionaries(st.integers(0, 39), st.sampled_from([0.5, 2.0, 3.5, 5.0]), max_size=25)
people = st.tuples(st.none() | st.integers(0, KNOWN), ratings)


@pytest.mark.parametrize("rows", [512, 30])
@pytest.mark.parametrize("name", CONFIGS)
@given(batch=st.lists(people, min_size=1, max_size=8), again=st.integers(0, 7))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_several_at_once_are_folded_in_as_one_by_one(
    name: str, rows: int, batch: list[tuple[int | None, dict[int, float]]], again: int
) -> None:
    """New and known users, empty histories, one rating, nothing new, and somebody twice."""
    scorer = scorer_of(name)
    batch = [*batch, batch[again % len(batch)]]
    users = [user for user, _ in batch]
    histories = [history(pairs) if user is None else joined(user, pairs) for user, pairs in batch]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "ROWS", rows)
        together = scorer.fold_in_many(histories, users)
    rated = scorer.score_many(together, [EVERY] * len(together))
    for user, own, state, stars in zip(users, histories, together, rated, strict=True):
        alone = scorer.score(scorer.fold_in(own, user), EVERY)
        np.testing.assert_allclose(scorer.score(state, EVERY), alone, atol=2e-5)
        np.testing.assert_allclose(stars, alone, atol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_who_tells_nothing_new_stays_as_trained(name: str) -> None:
    scorer = scorer_of(name)
    users = [3, KNOWN, 8]
    folded = scorer.fold_in_many([history_of(DATA.train, user) for user in users], users)
    for user, state, known in zip(users, folded, scorer.known_users(users), strict=True):
        expected = scorer.score(scorer.known_user(user), EVERY)
        np.testing.assert_allclose(scorer.score(state, EVERY), expected, atol=1e-6)
        np.testing.assert_allclose(scorer.score(known, EVERY), expected, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_known_users_new_ratings_pull_and_old_ones_hold(name: str) -> None:
    """Five new ratings fit better than before, and move a user less than they would move a stranger."""
    scorer = scorer_of(name)
    pairs = dict.fromkeys(range(0, 30, 6), 5.0)
    items = np.array(list(pairs))
    for user in (2, 11):
        before = scorer.score(scorer.known_user(user), items)
        after = scorer.score(scorer.fold_in(joined(user, pairs), user), items)
        assert np.square(after - 5).sum() < np.square(before - 5).sum()


def test_a_sample_of_old_ratings_holds_a_user_as_all_of_them_do(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, pairs = scorer_of("whole"), dict.fromkeys(range(0, 30, 6), 5.0)
    stars = []
    for sample in (1000, 8):
        monkeypatch.setattr(scoring, "SAMPLE", sample)
        monkeypatch.setattr(scorer, "_precisions", {})
        states = scorer.fold_in_many([joined(user, pairs) for user in range(KNOWN)], range(KNOWN))
        stars.append(np.stack(scorer.score_many(states, [EVERY] * KNOWN)))
    known = np.stack(scorer.score_many(scorer.known_users(range(KNOWN)), [EVERY] * KNOWN))
    moved, apart = np.abs(stars[0] - known).mean(), np.abs(stars[0] - stars[1]).mean()
    assert 0 < apart < 0.05 * moved


def test_what_training_knew_of_a_user_is_remembered_for_the_next_ratings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer, users = scorer_of("whole"), list(range(KNOWN))
    monkeypatch.setattr(scorer, "_precisions", {})
    ratings = [joined(user, dict.fromkeys(range(0, 30, 6), 5.0)) for user in users]
    first = scorer.fold_in_many(ratings, users)
    monkeypatch.setattr(scoring, "MOST_CACHED", KNOWN + 1)
    for order in (users[::-1], users[3:5], users):  # all known; some; too many with those that are new
        again = scorer.fold_in_many([ratings[user] for user in order], order)
        for user, state in zip(order, again, strict=True):
            np.testing.assert_allclose(state.parameters, first[user].parameters, rtol=1e-4, atol=1e-5)
        del scorer._precisions[order[0]]
        scorer._precisions |= {-1: np.zeros(1), -2: np.zeros(1)}


def test_the_last_of_equal_old_ratings_is_the_one_compared() -> None:
    before = History(np.array([4, 2, 4], dtype=np.int32), np.array([1, 2, 3], dtype=np.float32))
    given = History(np.array([4, 2, 9], dtype=np.int32), np.array([3, 2.5, 1], dtype=np.float32))
    assert scoring.newer(given, before).items.tolist() == [2, 9]
