"""Gibbs sampler of Bayesian matrix factorisation: noise, priors, all users, all items.

A user's vector is factors and, last, the bias: given the items it has a Normal conditional with precision
Lambda + sum w x x', x = (q_i, 1). Rows of similar length are drawn together (``row_groups.py``,
``equations.py``), on a CPU's threads or on a GPU. Ratings are in the items' order, where an item's draw
also yields the new scores of its ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.data.split import TrainingData
from recsys.models.bayes_mf import equations
from recsys.models.bayes_mf.basis import Basis, feature_basis, history_basis
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.counter_random import normals, uniforms
from recsys.models.bayes_mf.cutpoints import (
    LEAST,
    Cutpoints,
    interval_ends,
    interval_mass,
    standard_ends,
    truncated_normal,
)
from recsys.models.bayes_mf.factor_block import FactorBlock
from recsys.models.bayes_mf.observation import rating_levels, row_precisions
from recsys.models.bayes_mf.row_groups import RowGroup, for_each, group_rows, sum_of
from recsys.models.bayes_mf.row_prior import RowPrior
from recsys.seeds import derive_seed
from recsys.types import Arrays


class Sampler:
    """A chain. ``score`` (entries + 1,) are the ratings' latent scores under the current vectors, in the
    order of ``items.ratings``."""

    def __init__(
        self, config: BayesMfConfig, data: TrainingData, *, seed: int, device: torch.device | None = None
    ) -> None:
        train = data.train
        self.config, self.seed, self.sweeps = config, seed, 0
        self.device = device or torch.device("cpu")
        users, items = train.users.astype(np.int64), train.items.astype(np.int64)
        self.levels = rating_levels(train.values, config.output)
        self.centre, self.precision = 0.0, 1.0
        self.cutpoints: Cutpoints | None = None
        shape = (train.user_count, train.item_count)
        self.users = self._side(users, items, shape, config.user_history, data.user_features, "users")
        self.items = self._side(items, users, shape[::-1], config.item_history, data.item_features, "items")
        by_item = self.items.ratings
        if len(self.levels):
            labels = np.searchsorted(self.levels, train.values)
            self.cutpoints = Cutpoints(labels, len(self.levels))
            self.observed = by_item.padded(torch.from_numpy(labels.astype(np.uint8)).to(self.device))
        else:
            self.centre = float(train.values.mean(dtype=np.float64))
            self.precision = 1.0 / max(float(train.values.var(dtype=np.float64)), 1e-6)
            values = torch.from_numpy(train.values.astype(np.float32) - np.float32(self.centre))
            self.observed = by_item.padded(values.to(self.device))
        # For each entry in the users' order, its index in the items'; padding reads the last entry, 0.
        source = torch.full((self.users.ratings.entries,), by_item.entries, dtype=torch.int32)
        source[self.users.ratings.entry_index.cpu()] = by_item.entry_index.cpu().to(torch.int32)
        self.source = source.to(self.device)
        self.score = torch.zeros(by_item.entries + 1, device=self.device)

    def _side(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        shape: tuple[int, int],
        history: bool,
        features: NDArray[np.float32] | None,
        name: str,
    ) -> FactorBlock:
        counts = np.bincount(rows, minlength=shape[0])
        bases: list[Basis | None] = []
        if history:
            rank, seed = self.config.history_rank, derive_seed(self.seed, "basis")
            bases.append(history_basis(rows, columns, shape, rank=rank, seed=seed, device=self.device))
        if self.config.side_features and features is not None:
            bases.append(feature_basis(features, counts > 0))
        width = self.config.factors + 1
        counters = torch.arange(shape[0] * width, device=self.device).view(shape[0], width)
        drawn = 0.1 * normals(self._key("start", name), counters)
        return FactorBlock(
            prior=RowPrior(shape[0], width, [basis for basis in bases if basis is not None], self.device),
            ratings=group_rows(rows, columns, shape, self.device),
            drawn=drawn,
            conditional=drawn.clone(),
            noise_precision=torch.ones(shape[0], device=self.device),
            counts=counts.astype(np.float64),
        )

    def _key(self, *names: str) -> int:
        return derive_seed(self.seed, "gibbs", self.sweeps, *names)

    def _host_random(self, name: str) -> np.random.Generator:
        """A stream of this sweep, for small draws and Gamma ones."""
        return np.random.Generator(np.random.Philox(self._key(name)))

    def sweep(self) -> None:
        """Resamples every block once: noise and cutpoints, then users, then items."""
        self.sweeps += 1
        latent = self._draw_noise()
        for side, other, name in ((self.users, self.items, "users"), (self.items, self.users, "items")):
            side.prior.sweep(side.drawn, self._host_random(f"prior of {name}"))
            self._draw(side, other, latent, name)

    def rating_root_precisions(self, group: RowGroup, roots: tuple[Tensor, Tensor]) -> Tensor:
        """Root of each rating's noise precision, in the items' order.

        Args:
            group: Of the items.
            roots: ``root_precisions`` of the users and of the items.

        Returns:
            (b, longest), 0 where padded.
        """
        columns = self.items.ratings.columns[group.first : group.last]
        user_roots = roots[0].index_select(0, columns).view(-1, group.longest)
        return user_roots * roots[1][group.rows][:, None]

    def _draw_noise(self) -> Tensor:
        """(entries + 1,) latent ratings minus the centre; also resamples cutpoints and precisions."""
        roots = (self.users.root_precisions(), self.items.root_precisions())
        latent, squared = torch.zeros_like(self.score), torch.zeros_like(self.score)
        starts = self.items.ratings.starts
        if self.cutpoints is not None:
            self._move_cutpoints(self.cutpoints, roots)
            ends, key = interval_ends(self.cutpoints.values, self.device), self._key("noise")

        def fill(group: RowGroup) -> None:
            entries = slice(group.first, group.last)
            score = self.score[entries].view(-1, group.longest)
            if self.cutpoints is None:
                noise = self.observed[entries].view(-1, group.longest) - score
            else:
                scale = self.rating_root_precisions(group, roots)
                labels = self.observed[entries].to(torch.int32)
                low, high = standard_ends(ends, labels, score, scale)
                counters = starts[group.rows][:, None] + torch.arange(group.longest, device=self.device)
                noise = truncated_normal(low, high, uniforms(key, counters)) / scale.clamp_min(1e-20)
            latent[entries] = (score + noise).view(-1)
            squared[entries] = noise.square().view(-1)

        for_each(fill, self.items.ratings.groups)
        if self.cutpoints is None:
            self._draw_precision(squared)
        self._draw_row_precisions(squared)
        return latent

    def _move_cutpoints(self, cutpoints: Cutpoints, roots: tuple[Tensor, Tensor]) -> None:
        random = self._host_random("cutpoints")
        proposed = cutpoints.proposal(random)
        log_ratio = -np.inf
        if np.all(np.diff(proposed) > 0):
            both_ends = [interval_ends(cuts, self.device) for cuts in (cutpoints.values, proposed)]

            def group_log_ratio(group: RowGroup) -> Tensor:
                entries = slice(group.first, group.last)
                score = self.score[entries].view(-1, group.longest)
                scale = self.rating_root_precisions(group, roots)
                labels = self.observed[entries].to(torch.int32)
                before, after = (
                    interval_mass(*standard_ends(ends, labels, score, scale)).clamp_min_(LEAST)
                    for ends in both_ends
                )
                # Padding has mass LEAST in both.
                return (after / before).log_().sum(dtype=torch.float64)

            log_ratio = sum_of(group_log_ratio, self.items.ratings.groups)
        cutpoints.accept_or_reject(proposed, log_ratio, random)

    def _draw_precision(self, squared: Tensor) -> None:
        user_precision = self.users.root_precisions().square()

        def weighted(group: RowGroup) -> Tensor:
            columns = self.items.ratings.columns[group.first : group.last]
            by_user = user_precision.index_select(0, columns) * squared[group.first : group.last]
            by_item = by_user.view(-1, group.longest).sum(dim=1) * self.items.noise_precision[group.rows]
            return by_item.sum(dtype=torch.float64)

        count = float(self.users.counts.sum())
        rate = 1 + 0.5 * sum_of(weighted, self.items.ratings.groups)
        self.precision = float(self._host_random("precision").gamma(1 + 0.5 * count, 1 / rate))

    def _draw_row_precisions(self, squared: Tensor) -> None:
        sides = (
            (self.users, self.items, self.config.user_noise, "noise of users"),
            (self.items, self.users, self.config.item_noise, "noise of items"),
        )
        for side, other, prior, name in sides:
            if prior == 0:
                continue
            precision = other.root_precisions().square()
            total = torch.zeros_like(side.noise_precision)
            source = self.source if side is self.users else None

            def add_squares(
                group: RowGroup,
                side: FactorBlock = side,
                precision: Tensor = precision,
                total: Tensor = total,
                source: Tensor | None = source,
            ) -> None:
                entries = slice(group.first, group.last)
                squares = squared[entries] if source is None else squared.index_select(0, source[entries])
                weighted = squares * precision.index_select(0, side.ratings.columns[entries])
                total[group.rows] = weighted.view(-1, group.longest).sum(dim=1)

            for_each(add_squares, side.ratings.groups)
            sums = self.precision * total.cpu().numpy().astype(np.float64)
            drawn = row_precisions(sums, side.counts, prior, self._host_random(name))
            side.noise_precision = torch.from_numpy(drawn.astype(np.float32)).to(self.device)

    def _draw(self, side: FactorBlock, other: FactorBlock, latent: Tensor, name: str) -> None:
        """Draws all vectors of ``side`` given the other side's; the items' draw also updates the scores."""
        width = side.drawn.shape[1]
        table, key = other.table(), self._key("vectors", name)
        precision = torch.from_numpy(side.prior.precision.astype(np.float32)).to(self.device)
        # Two of the table's columns as arrays: reading them from a design is ten times as slow.
        roots, biases = table[:, width - 1].contiguous(), table[:, width].contiguous()
        weights, source = self.precision * side.noise_precision, self.source
        columns = torch.arange(width, device=self.device)
        drawn, conditional = torch.empty_like(side.drawn), torch.empty_like(side.drawn)
        is_items = side is self.items

        def solve(group: RowGroup) -> None:
            entries = slice(group.first, group.last)
            others = side.ratings.columns[entries]
            design = table.index_select(0, others).view(-1, group.longest, width + 1)
            target = latent[entries] if is_items else latent.index_select(0, source[entries])
            root = roots.index_select(0, others)
            weighted = (root * target).sub_(biases.index_select(0, others))
            design[:, :, width] = weighted.view(-1, group.longest)
            noise = normals(key, group.rows[:, None] * width + columns)
            mean = side.prior.rows_mean[group.rows]
            means, vectors = equations.draw(design, weights[group.rows], mean, precision, noise)
            drawn[group.rows], conditional[group.rows] = vectors, means
            if is_items:
                # A design's row times (vector, -1) is its root weight times score minus target.
                minus = torch.cat([vectors, -torch.ones_like(vectors[:, :1])], dim=1)[:, :, None]
                self.score[entries] = target + (design @ minus).view(-1) / root.clamp_min_(1e-20)

        for_each(solve, side.ratings.groups)
        if drawn.sum().isnan():
            raise FloatingPointError(
                f"the chain's vectors of {name} are not finite after {self.sweeps} sweeps"
            )
        side.drawn, side.conditional = drawn, conditional

    def state(self) -> Arrays:
        """Everything that the chain needs to continue exactly."""
        arrays: Arrays = {
            "sweeps": np.array([self.sweeps]),
            "seed": np.array([self.seed]),
            "score": self.score[self.items.ratings.entry_index].cpu().numpy(),
            "precision": np.array([self.precision]),
        }
        if self.cutpoints is not None:
            arrays["cutpoints"] = self.cutpoints.values.copy()
            arrays["cutpoint_step"] = np.array([self.cutpoints.step])
        for name, side in (("users", self.users), ("items", self.items)):
            arrays |= {f"{name}/vectors": side.vectors.copy(), f"{name}/precisions": side.precisions.copy()}
            arrays |= {f"{name}/prior.{key}": array for key, array in side.prior.state().items()}
        return arrays

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continues exactly from ``state``; with new random streams from one of before counters.

        Args:
            state: Of ``state``, from a sampler of the same config and data.
        """
        self.sweeps, self.precision = int(state.get("sweeps", [0])[0]), float(state["precision"][0])
        self.seed = int(state.get("seed", [self.seed])[0])
        self.score = self.items.ratings.padded(self._tensor(state["score"]))
        if self.cutpoints is not None:
            self.cutpoints.values = np.array(state["cutpoints"])
            self.cutpoints.step = float(state["cutpoint_step"][0])
        for name, side in (("users", self.users), ("items", self.items)):
            side.drawn = self._tensor(state[f"{name}/vectors"])
            side.noise_precision = self._tensor(state[f"{name}/precisions"])
            prefix = f"{name}/prior."
            side.prior.load_state(
                {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
            )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(self.device)
