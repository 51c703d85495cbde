"""What the packed network says of (user, item) rows: the link, stars, and their derivatives by the user.

Everything takes many rows at once, of one user or of several, because a pass costs mostly the calls and
the reading of weights: ten rows take half as long as eighty.
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
    """``own`` (own,) is the bias and the start's row, where the model has them, then the embedding;
    ``history`` (k,) is h; ``half`` (width,) the user's part of the first layer; ``sharpness`` () is how
    sharply they tell levels apart. Several users, or a user a row, have a leading dimension more."""

    own: Matrix
    history: Matrix | None
    half: Matrix
    sharpness: Matrix

    def at(self, indices: IntArray | BoolArray | int) -> UserEncoding:
        """Those at ``places`` of several."""
        history = None if self.history is None else self.history[indices]
        return UserEncoding(self.own[indices], history, self.half[indices], self.sharpness[indices])

    @staticmethod
    def together(states: Sequence[UserEncoding]) -> UserEncoding:
        histories = [state.history for state in states if state.history is not None]
        return UserEncoding(
            np.stack([state.own for state in states]),
            np.stack(histories) if histories else None,
            np.stack([state.half for state in states]),
            np.stack([state.sharpness for state in states]),
        )


@dataclass(frozen=True)
class ItemEncoding:
    """What the network reads of items, a row each; None where the model has no such part."""

    half: Matrix
    factors: Matrix | None
    start: Matrix | None
    bias: Matrix | None

    def __len__(self) -> int:
        return len(self.half)

    def at(self, rows: BoolArray) -> ItemEncoding:
        parts = (self.factors, self.start, self.bias)
        return ItemEncoding(self.half[rows], *(None if part is None else part[rows] for part in parts))


class NumpyNetwork:
    """The network in evaluation mode, as a function of a user's own numbers."""

    def __init__(self, member: ModelArtifact) -> None:
        settings, self._arrays = member.settings, member.arrays
        self._k, self._biases = int(settings["dot_product"]), bool(settings["biases"])
        self._slope, self._offset = np.float32(settings["start_slope"]), np.float32(settings["start_offset"])
        start = self._arrays.get("start_items")
        # Where the embedding begins in a user's own numbers.
        self._embedding = int(self._biases) + (0 if start is None else start.shape[1])
        self._link = StarLink.of(self._arrays, member.scale)
        self.span = member.scale.span  # stars
        self._layers = NumpyLayers(self._arrays, len(settings["hidden"]))
        # A prior of features is not packed.
        self.has_kl = self._layers.has_log_variance and settings.get("latent_prior") == "standard"
        # Turned, (in, width), for the products of few rows (see Layers).
        self._first = {
            name: np.ascontiguousarray(self._arrays[f"first.{name}"].T)
            for name in ("user", "user_history", "product")
            if f"first.{name}" in self._arrays
        }

    def state(self, own: Matrix, history: Matrix | None, sharpness: Matrix) -> UserEncoding:
        """With the half worked out; of one user or of several."""
        half = own[..., self._embedding :] @ self._first["user"]
        if history is not None:
            half += history @ self._first["user_history"]
        return UserEncoding(own, history, half, sharpness)

    def items(self, items: IntArray) -> ItemEncoding:
        def rows(name: str) -> Matrix | None:
            return self._arrays[name][items] if name in self._arrays else None

        half = self._arrays["item_half"][items].astype(np.float32)
        return ItemEncoding(half, rows("item_factors"), rows("start_items"), rows("item_bias"))

    def rated(self, user: UserEncoding, items: ItemEncoding) -> Matrix:
        """(n,) stars of one user, or of a user a row, averaged over the draws of z where there are any."""
        if self._layers.draws is None:
            return self.stars(user, self.link(user, items))
        link, first = self._paths(user, items)
        stars = np.zeros(len(items), dtype=np.float32)
        drawn = self._layers.drawn(first)
        for decoded in drawn:
            stars += self.stars(user, link + decoded)
        return stars / np.float32(len(drawn))

    def kl(self, user: UserEncoding, items: ItemEncoding) -> Matrix:
        """(n,) KL of each row's latent, nats, mean over its dimensions; see ``has_kl``."""
        return self._layers.kl(self._paths(user, items)[1])

    def link(self, user: UserEncoding, items: ItemEncoding, traces: list[Trace] | None = None) -> Matrix:
        """(n,) of one user, or of a user a row, at z = mean. ``traces`` is filled for ``slopes``."""
        link, first = self._paths(user, items)
        return np.asarray(link + self._layers.forward(first, traces), dtype=np.float32)

    def _paths(self, user: UserEncoding, items: ItemEncoding) -> tuple[Matrix, Matrix]:
        """(n,) of the link past the bottleneck, and the sums of the first layer (n, width)."""
        first = items.half + user.half
        link: Matrix = np.zeros(len(items), dtype=np.float32)
        if items.factors is not None:
            product = items.factors * self._factors(user)
            link = np.add.reduce(product, axis=1)
            first += product @ self._first["product"]
        if items.start is not None:
            started = np.vecdot(items.start, user.own[..., int(self._biases) : self._embedding])
            first += started[:, None] * self._arrays["first.start"]
            link = link + self._offset + self._slope * started
        if items.bias is not None:
            link = link + items.bias + user.own[..., 0]
        return np.asarray(link, dtype=np.float32), first

    def stars(self, user: UserEncoding, link: Matrix) -> Matrix:
        return self._link.stars(link, user.sharpness)

    def slopes(self, sharpness: Matrix, items: ItemEncoding, link: Matrix, traces: list[Trace]) -> Matrix:
        """(n, own) derivatives of the stars by the user's own numbers, at a ``link`` and its ``traces``;
        ``sharpness`` () or (n,)."""
        at = self._embedding
        by_first = self._layers.backward(traces)
        by_user = self._arrays["first.user"]
        slopes = np.empty((len(items), at + by_user.shape[1]), dtype=np.float32)
        slopes[:, at:] = by_first @ by_user
        if items.factors is not None:
            by_product = by_first @ self._arrays["first.product"]
            by_product += 1
            slopes[:, at : at + self._k] += items.factors * by_product
        if items.start is not None:
            gain = self._slope + by_first @ self._arrays["first.start"]
            slopes[:, int(self._biases) : at] = gain[:, None] * items.start
        if items.bias is not None:
            slopes[:, 0] = 1
        slopes *= self._link.slopes(link, sharpness)[:, None]
        return slopes

    def _factors(self, user: UserEncoding) -> Matrix:
        own = user.own[..., self._embedding : self._embedding + self._k]
        return own if user.history is None else own + user.history
