"""Network of the hybrid VAE: embeddings, optional terms past the bottleneck, and a sigmoid onto the scale.

The owner's formula: low + span * sigmoid(decoder(z)). Repaired: low + span * sigmoid(offset + b_u + b_i +
(p_u + h_u).(q_i + g_i) + decoder(z)), where p and q are the first dimensions of the embeddings and the
encoder also reads h, g and the elementwise product: a small MLP on concatenated embeddings does not learn
additive and product terms (Rendle et al. 2020, arXiv:2005.09683). With a factorisation to start from, its
score is added too, and read by the encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recsys.data.ratings import Ratings
from recsys.models.hybrid_vae.batch_history import BatchMatrix, RowRatings, cheaper_by_batch
from recsys.models.hybrid_vae.bottleneck import Bottleneck
from recsys.models.hybrid_vae.capacity import encoder_inputs
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.feature_prior import FeaturePrior
from recsys.models.hybrid_vae.gather import gather
from recsys.models.hybrid_vae.history import BatchSums, Pairs, SideHistory, newest
from recsys.models.hybrid_vae.noise import Noise, dropout
from recsys.models.hybrid_vae.ordinal import OrdinalOutput
from recsys.models.hybrid_vae.time_levels import TimeLevels
from recsys.models.hybrid_vae.warm_start import WarmStart
from recsys.models.optim.row_adam import TableRows

ROW_ORDER = 0  # seed of the order of a row's ratings; the draws from it are the trainer's


class Sums(NamedTuple):
    """History sums of all users and items, for a step or a prediction."""

    users: Tensor
    items: Tensor


class RowSums(NamedTuple):
    """History sums of a batch's users and items."""

    users: BatchSums
    items: BatchSums


class Output(NamedTuple):
    """A batch's predictions.

    Attributes:
        stars: (batch,).
        link: (batch,) before the output, or (draws, batch).
        mean: (batch, latent) of the posterior, float32.
        log_variance: (batch, latent) of the posterior, float32.
        prior: (batch, latent) means of the prior, float32; None for the standard normal.
    """

    stars: Tensor
    link: Tensor
    mean: Tensor
    log_variance: Tensor
    prior: Tensor | None = None


class HybridVae(nn.Module):
    """The network, with the histories of its training slice."""

    def __init__(
        self,
        config: HybridVaeConfig,
        ratings: Ratings,
        device: torch.device,
        start: WarmStart | None = None,
        prior: FeaturePrior | None = None,
    ) -> None:
        """
        Args:
            config: Of the network.
            ratings: The training slice, which sizes the tables and fills the histories.
            device: Of the histories.
            start: The factorisation to start from, if configured.
            prior: Of the latent, if configured.
        """
        super().__init__()
        self.config = config
        self.scale = ratings.scale
        self.centre = float(np.mean(ratings.values)) if len(ratings) else ratings.scale.low
        spread, k = config.embedding_scale, config.dot_product
        self.user_embedding = nn.Parameter(torch.randn(ratings.user_count, config.factors) * spread)
        self.item_embedding = nn.Parameter(torch.randn(ratings.item_count, config.factors) * spread)
        if config.biases:
            share = (self.centre - self.scale.low) / self.scale.span
            share = min(max(share, 0.01), 0.99)
            # A start has an offset of its own, and cutpoints replace it.
            sigmoid = start is None and config.output == "gaussian"
            centre = torch.logit(torch.tensor(share)) if sigmoid else torch.zeros(())
            self.offset = nn.Parameter(centre)
            self.user_bias = nn.Parameter(torch.zeros(ratings.user_count))
            self.item_bias = nn.Parameter(torch.zeros(ratings.item_count))
        if start is not None:
            # The tables are frozen: trained further on the ratings that they were fitted to, they overfit.
            self.start_users = nn.Parameter(torch.from_numpy(start.users), requires_grad=False)
            self.start_items = nn.Parameter(torch.from_numpy(start.items), requires_grad=False)
            self.start_slope = nn.Parameter(torch.ones(()))
            self.start_offset = nn.Parameter(torch.tensor(start.offset))
        self.by_row: tuple[RowRatings, RowRatings] | None = None
        if config.history != "none":
            self.by_row = _rows_of_batches(config, ratings, self.centre, device)
            self.user_history, self.item_history = (
                SideHistory(
                    ratings,
                    flipped=flipped,
                    kind=config.history,
                    width=k,
                    centre=self.centre,
                    limit=config.history_limit,
                    scale=spread,
                    device=device,
                    heads=config.attention_heads,
                    whole_gradients=self.by_row is None,
                )
                for flipped in (False, True)
            )
        self.levels = TimeLevels(ratings) if config.time == "levels" else None
        self.bottleneck = Bottleneck(encoder_inputs(config), config)
        self.prior = prior
        self.ordinal: OrdinalOutput | None = None
        if config.output != "gaussian":
            self.ordinal = OrdinalOutput(ratings, by_user=config.output == "ordinal_by_user")
        if start is not None:
            # Start as the factorisation itself; a random decoder would first have to unlearn its noise.
            nn.init.zeros_(self.bottleneck.output.weight)
            if self.ordinal is not None:
                self._fit_cutpoints(self.ordinal, start, ratings)

    def _fit_cutpoints(self, ordinal: OrdinalOutput, start: WarmStart, ratings: Ratings) -> None:
        """Rescales the start's scores, which were fitted for the sigmoid, to the cutpoints."""
        score = np.einsum("nr,nr->n", start.users[ratings.users], start.items[ratings.items])
        link = torch.from_numpy(np.asarray(score + start.left_out, dtype=np.float32))
        slope = ordinal.fit(link, torch.from_numpy(ordinal.labels(ratings.values)))
        nn.init.constant_(self.start_slope, slope)
        nn.init.zeros_(self.start_offset)

    def sums(self) -> Sums | None:
        """History sums under the current weights; None for a model without histories."""
        if self.config.history == "none":
            return None
        return Sums(self.user_history.sums(), self.item_history.sums())

    def batch_sums(self, batch: tuple[BatchMatrix, BatchMatrix]) -> RowSums:
        """History sums of a ``batch`` of users' and items' ratings (``RowRatings.batch``)."""
        users, items = batch
        return RowSums(self.user_history.batch_sums(users), self.item_history.batch_sums(items))

    def start_link(self, pairs: Pairs) -> Tensor:
        """(batch,) scores of ``pairs`` by the factorisation, a training pair's own rating left out."""
        users, items = gather(self.start_users, pairs.users), gather(self.start_items, pairs.items)
        link = (users * items).sum(dim=1)
        return link if pairs.left_out is None else link + pairs.left_out

    def stars(self, link: Tensor, users: Tensor) -> Tensor:
        """(batch,) stars for a ``link`` (batch,) of the rows ``users`` (batch,)."""
        if self.ordinal is not None:
            return self.ordinal.stars(link, users)
        return self.scale.low + self.scale.span * torch.sigmoid(link)

    def forward(
        self,
        pairs: Pairs,
        sums: Sums | RowSums | None,
        noise: Noise | None,
        embedded: tuple[TableRows, TableRows] | None = None,
    ) -> Output:
        """Predicts pairs.

        Args:
            pairs: The batch.
            sums: History sums, for a model with histories.
            noise: Of dropout and z; None in evaluation (no dropout; z is its mean, or averaged over).
            embedded: Current rows of the users' and items' embeddings, where the tables are out of date.

        Returns:
            Stars, and what the loss reads.
        """
        config, k = self.config, self.config.dot_product
        if embedded is None:
            user, item = gather(self.user_embedding, pairs.users), gather(self.item_embedding, pairs.items)
        else:
            user, item = (gather(rows.values, rows.positions) for rows in embedded)
        link: Tensor | float = 0.0
        if config.biases:
            link = self.offset + gather(self.user_bias, pairs.users) + gather(self.item_bias, pairs.items)
        if self.levels is not None and pairs.user_level is not None and pairs.item_level is not None:
            link = link + self.levels.users(pairs.users, pairs.user_level)
            link = link + self.levels.items(pairs.items, pairs.item_level)
        inputs = [user, item]
        if k > 0:
            p, q = user[:, :k], item[:, :k]
            if sums is not None:
                h = self.user_history(sums.users, pairs.users, pairs.items, pairs.in_user, pairs.centred)
                g = self.item_history(sums.items, pairs.items, pairs.users, pairs.in_item, pairs.centred)
                p, q = p + h, q + g
                inputs += [h, g]
            product = p * q
            link = link + product.sum(dim=1)
            inputs.append(product)
        encoder_input = dropout(torch.cat(inputs, dim=1), config.dropout / 2, noise)
        if config.start != "random":
            start_score = self.start_link(pairs)
            link = link + self.start_offset + self.start_slope * start_score
            encoder_input = torch.cat([encoder_input, start_score[:, None].to(encoder_input.dtype)], dim=1)
        decoded = self.bottleneck(encoder_input, noise)
        total: Tensor = link + decoded.link
        if total.dim() == 1:
            stars = self.stars(total, pairs.users)
        else:
            stars = torch.stack([self.stars(draw, pairs.users) for draw in total]).mean(dim=0)
        prior = None if self.prior is None else self.prior(pairs.users, pairs.items).float()
        return Output(stars, total, decoded.mean, decoded.log_variance, prior)


def _rows_of_batches(
    config: HybridVaeConfig, ratings: Ratings, centre: float, device: torch.device
) -> tuple[RowRatings, RowRatings] | None:
    """Users' and items' ratings by row where sums of a batch's rows are cheaper than full sums, else None.

    On a GPU full sums are cheap at any size that fits its memory."""
    if device.type == "cuda" or len(ratings) <= config.batch_size:
        return None
    counts = (ratings.user_count, ratings.item_count)
    sides = [(ratings.users, ratings.items, counts), (ratings.items, ratings.users, counts[::-1])]
    kept = [newest(rows, ratings.times, config.history_limit) for rows, _, _ in sides]
    sizes = [
        np.bincount(rows[keep], minlength=shape[0])
        for (rows, _, shape), keep in zip(sides, kept, strict=True)
    ]
    if not cheaper_by_batch(sizes[0], sizes[1], config.batch_size):
        return None
    centred = (ratings.values - np.float32(centre)).astype(np.float32)
    users, items = (
        RowRatings(np.where(keep, rows, -1), columns, centred, shape=shape, seed=ROW_ORDER)
        for (rows, columns, shape), keep in zip(sides, kept, strict=True)
    )
    return users, items
