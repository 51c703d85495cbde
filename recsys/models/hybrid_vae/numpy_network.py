"""Packed network in numpy: link and stars of user-item pairs, and their derivatives by the user's parameters.

All methods are batched, over the items of a user or over pairs of several users, because a pass costs mostly
calls and reads of weights: ten rows take half as long as eighty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.models.base import ModelArtifact
from recsys.models.hybrid_vae.numpy_layers import Matrix, NumpyLayers, Trace
from recsys.models.hybrid_vae.star_link import StarLink
from recsys.types import BoolArray, IntArray


@dataclass(frozen=True)
class UserEncoding:
    """A user's state. Several users have a leading dimension.

    Attributes:
        parameters: (parameters,) bias and row of the start, where the model has them, then the embedding.
        history: (k,) h.
        half: (width,) the user's term in the sums of the first layer.
        sharpness: () factor of the ordinal output.
    """

    parameters: Matrix
    history: Matrix | None
    half: Matrix
    sharpness: Matrix

    def at(self, indices: IntArray | BoolArray | int) -> UserEncoding:
        """The users at ``indices`` of several."""
        history = None if self.history is None else self.history[indices]
        return UserEncoding(self.parameters[indices], history, self.half[indices], self.sharpness[indices])

    @staticmethod
    def stack(states: Sequence[UserEncoding]) -> UserEncoding:
        """Several users from the states of each."""
        histories = [state.history for state in states if state.history is not None]
        return UserEncoding(
            np.stack([state.parameters for state in states]),
            np.stack(histories) if histories else None,
            np.stack([state.half for state in states]),
            np.stack([state.sharpness for state in states]),
        )


@dataclass(frozen=True)
class ItemEncoding:
    """What the network reads of items, a row each; None where the model lacks it.

    Attributes:
        half: (n, width) terms in the sums of the first layer.
        factors: (n, k) q + g.
        start: (n, rank) rows of the start.
        bias: (n,).
    """

    half: Matrix
    factors: Matrix | None
    start: Matrix | None
    bias: Matrix | None

    def __len__(self) -> int:
        return len(self.half)

    def at(self, rows: BoolArray) -> ItemEncoding:
        """The items where ``rows`` (n,) is true."""
        arrays = (self.factors, self.start, self.bias)
        return ItemEncoding(self.half[rows], *(None if array is None else array[rows] for array in arrays))


class NumpyNetwork:
    """The network in evaluation mode, as a function of a user's parameters."""

    def __init__(self, member: ModelArtifact) -> None:
        settings, self._arrays = member.settings, member.arrays
        self._k, self._biases = int(settings["dot_product"]), bool(settings["biases"])
        self._slope, self._offset = np.float32(settings["start_slope"]), np.float32(settings["start_offset"])
        start = self._arrays.get("start_items")
        # Index of the embedding in a user's parameters.
        self._embedding = int(self._biases) + (0 if start is None else start.shape[1])
        self._link = StarLink.of(self._arrays, member.scale)
        self.span = member.scale.span  # stars
        self._layers = NumpyLayers(self._arrays, len(settings["hidden"]))
        # A feature prior is not packed.
        self.has_kl = self._layers.has_log_variance and settings.get("latent_prior") == "standard"
        # Transposed, (in, width), for the products of few rows (see NumpyLayers).
        self._first = {
            name: np.ascontiguousarray(self._arrays[f"first.{name}"].T)
            for name in ("user", "user_history", "product")
            if f"first.{name}" in self._arrays
        }

    def state(self, parameters: Matrix, history: Matrix | None, sharpness: Matrix) -> UserEncoding:
        """The encoding of a user, or of several, from its other attributes."""
        half = parameters[..., self._embedding :] @ self._first["user"]
        if history is not None:
            half += history @ self._first["user_history"]
        return UserEncoding(parameters, history, half, sharpness)

    def items(self, items: IntArray) -> ItemEncoding:
        """The encodings of the rows ``items`` (n,)."""

        def rows(name: str) -> Matrix | None:
            return self._arrays[name][items] if name in self._arrays else None

        half = self._arrays["item_half"][items].astype(np.float32)
        return ItemEncoding(half, rows("item_factors"), rows("start_items"), rows("item_bias"))

    def predict(self, user: UserEncoding, items: ItemEncoding) -> Matrix:
        """Predicted ratings, averaged over the draws of z if there are any.

        Args:
            user: A user, or one for each item.
            items: n items.

        Returns:
            (n,) stars.
        """
        if self._layers.draws is None:
            return self.stars(user, self.link(user, items))
        link, first = self._first_layer(user, items)
        stars = np.zeros(len(items), dtype=np.float32)
        draws = self._layers.forward_draws(first)
        for decoded in draws:
            stars += self.stars(user, link + decoded)
        return stars / np.float32(len(draws))

    def kl(self, user: UserEncoding, items: ItemEncoding) -> Matrix:
        """(n,) KL of each pair's latent, nats, mean over its dimensions; arguments as ``predict``."""
        return self._layers.kl(self._first_layer(user, items)[1])

    def link(self, user: UserEncoding, items: ItemEncoding, traces: list[Trace] | None = None) -> Matrix:
        """(n,) link at z = mean; arguments as ``predict``, and ``traces``, filled for ``slopes``."""
        link, first = self._first_layer(user, items)
        return np.asarray(link + self._layers.forward(first, traces), dtype=np.float32)

    def _first_layer(self, user: UserEncoding, items: ItemEncoding) -> tuple[Matrix, Matrix]:
        """(n,) terms of the link past the bottleneck, and (n, width) sums of the first layer."""
        first = items.half + user.half
        link: Matrix = np.zeros(len(items), dtype=np.float32)
        if items.factors is not None:
            product = items.factors * self._factors(user)
            link = np.add.reduce(product, axis=1)
            first += product @ self._first["product"]
        if items.start is not None:
            start_score = np.vecdot(items.start, user.parameters[..., int(self._biases) : self._embedding])
            first += start_score[:, None] * self._arrays["first.start"]
            link = link + self._offset + self._slope * start_score
        if items.bias is not None:
            link = link + items.bias + user.parameters[..., 0]
        return np.asarray(link, dtype=np.float32), first

    def stars(self, user: UserEncoding, link: Matrix) -> Matrix:
        """(n,) stars for a ``link`` (n,) of a user, or of one for each row."""
        return self._link.stars(link, user.sharpness)

    def slopes(self, sharpness: Matrix, items: ItemEncoding, link: Matrix, traces: list[Trace]) -> Matrix:
        """Derivatives of the stars by the user's parameters.

        Args:
            sharpness: () or (n,) of the user.
            items: n items.
            link: (n,) of ``link``.
            traces: Of ``link``.

        Returns:
            (n, parameters).
        """
        start = self._embedding
        by_first = self._layers.backward(traces)
        user_weight = self._arrays["first.user"]
        slopes = np.empty((len(items), start + user_weight.shape[1]), dtype=np.float32)
        slopes[:, start:] = by_first @ user_weight
        if items.factors is not None:
            by_product = by_first @ self._arrays["first.product"]
            by_product += 1
            slopes[:, start : start + self._k] += items.factors * by_product
        if items.start is not None:
            gain = self._slope + by_first @ self._arrays["first.start"]
            slopes[:, int(self._biases) : start] = gain[:, None] * items.start
        if items.bias is not None:
            slopes[:, 0] = 1
        slopes *= self._link.slopes(link, sharpness)[:, None]
        return slopes

    def _factors(self, user: UserEncoding) -> Matrix:
        """(k,) or (n, k): p + h."""
        factors = user.parameters[..., self._embedding : self._embedding + self._k]
        return factors if user.history is None else factors + user.history
