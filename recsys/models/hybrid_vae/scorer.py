"""Answers of a packed hybrid VAE, in numpy alone; equal to the torch network in evaluation mode.

A known user's state is their rows of the tables. A new user's history path is exact; their own bias and
embedding, which were never trained, are found by a few Gauss-Newton steps on the ratings given, with the
trained users' mean and variance as the prior: with no rating they are an average user, with many they
are fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History, PackedMember
from recsys.models.hybrid_vae.layers import Layers, Matrix, Trace
from recsys.models.hybrid_vae.link import Link
from recsys.types import FloatArray, IntArray

# Ratings that the embedding is fitted to, the newest: bounds a fold-in to a few milliseconds.
MOST = 128
STEPS = 2  # a third changed nothing measurable and cost half as much again


@dataclass(frozen=True)
class UserState:
    """``own`` is the bias and the start's row, where the model has them, then the embedding; ``history``
    (k,) is h; ``half`` the user's part of the first layer, (width,); ``sharpness`` is how
    sharply they tell levels apart, for a new user as the trained ones do on average."""

    own: NDArray[np.float32]
    history: NDArray[np.float32] | None
    half: NDArray[np.float32]
    sharpness: float


class HybridVaeScorer:
    def __init__(self, member: PackedMember, histories: Callable[[int], History]) -> None:
        settings, arrays = member.settings, member.arrays
        self.arrays, self.histories = arrays, histories
        self.k, self.biases = int(settings["dot_product"]), bool(settings["biases"])
        self.start: NDArray[np.float32] | None = arrays.get("start_items")
        self.slope, self.offset = np.float32(settings["start_slope"]), np.float32(settings["start_offset"])
        # Where the embedding begins in a user's own numbers.
        self.embedding = int(self.biases) + (0 if self.start is None else self.start.shape[1])
        self.centre, self.noise = np.float32(settings["centre"]), float(settings["noise_variance"])
        self.sharpness = float(settings.get("sharpness", 1.0))
        self.limit = int(settings["history_limit"])
        self.link = Link.of(arrays, member.scale)
        self.layers = Layers(arrays, len(settings["hidden"]))
        self._tables = [arrays[name] for name in ("history.0", "history.1") if name in arrays]

    def known_user(self, user: int) -> UserState:
        own = self.arrays["user_embedding"][user].astype(np.float32)
        if self.start is not None:
            own = np.concatenate([self.arrays["start_users"][user], own])
        if self.biases:
            own = np.concatenate([self.arrays["user_bias"][user : user + 1], own])
        history = self.arrays["user_history"][user] if self._tables else None
        sharpness = self.arrays.get("ordinal.sharpness")
        return self._state(own, history, self.sharpness if sharpness is None else float(sharpness[user]))

    def fold_in(self, history: History, user: int | None = None) -> UserState:
        if user is None:
            centre = self.arrays["prior.mean"]
            precision = 1 / self.arrays["prior.variance"].astype(np.float64)
            state = self._state(centre, self._sum(history), self.sharpness)
            return self._fit(state, history, centre, precision)
        known = self.known_user(user)
        before = self.histories(user)
        new = _newer(history, before)
        if len(new.items) == 0:
            return known
        # What training learnt of them already weighs like the ratings that it was learnt from.
        precision = 1 / self.arrays["prior.variance"].astype(np.float64)
        old = _newest(before, MOST)
        if len(old.items):
            slopes = self._stars_and_slopes(known, old.items)[1]
            precision = precision + np.square(slopes).sum(axis=0) / self.noise
        state = self._state(known.own, self._sum(history), known.sharpness)
        return self._fit(state, new, known.own, precision)

    def score(self, state: UserState, items: IntArray) -> Matrix:
        link = self._link(state, items, self._first(state, items))
        return self.link.stars(link, state.sharpness)

    def score_many(self, states: Sequence[UserState], items: Sequence[IntArray]) -> list[Matrix]:
        """``score`` of several users in one pass through the layers."""
        firsts = [self._first(state, rows) for state, rows in zip(states, items, strict=True)]
        deep = np.split(self.layers.forward(np.concatenate(firsts)), np.cumsum([len(rows) for rows in items]))
        return [
            self.link.stars(own + self._shortcuts(state, rows), state.sharpness)
            for own, state, rows in zip(deep, states, items, strict=False)
        ]

    def _state(
        self, own: NDArray[np.float32], history: NDArray[np.float32] | None, sharpness: float
    ) -> UserState:
        half: FloatArray = self.arrays["first.user"] @ own[self.embedding :]
        if history is not None:
            half = half + self.arrays["first.user_history"] @ history
        return UserState(own, history, np.asarray(half, dtype=np.float32), sharpness)

    def _sum(self, history: History) -> NDArray[np.float32] | None:
        """h of a user with these ratings."""
        if not self._tables:
            return None
        if self.limit:
            history = _newest(history, self.limit)
        total = self._tables[0][history.items].sum(axis=0)
        if len(self._tables) > 1:
            total = total + (history.values - self.centre) @ self._tables[1][history.items]
        scaled: NDArray[np.float32] = (total / np.sqrt(max(len(history.items), 1))).astype(np.float32)
        return scaled

    def _factors(self, state: UserState) -> NDArray[np.float32]:
        own = state.own[self.embedding : self.embedding + self.k]
        return own if state.history is None else own + state.history

    def _started(self, state: UserState, items: IntArray) -> Matrix:
        """(n,) the factorisation's score."""
        assert self.start is not None
        return np.asarray(self.start[items] @ state.own[int(self.biases) : self.embedding], dtype=np.float32)

    def _first(self, state: UserState, items: IntArray) -> Matrix:
        """(n, width) sums of the first layer."""
        first = np.asarray(self.arrays["item_half"][items] + state.half, dtype=np.float32)
        if self.k:
            product = self.arrays["item_factors"][items] * self._factors(state)
            first += product @ self.arrays["first.product"].T
        if self.start is not None:
            first += self._started(state, items)[:, None] * self.arrays["first.start"]
        return first

    def _link(
        self, state: UserState, items: IntArray, first: Matrix, traces: list[Trace] | None = None
    ) -> Matrix:
        return np.asarray(self.layers.forward(first, traces) + self._shortcuts(state, items), np.float32)

    def _shortcuts(self, state: UserState, items: IntArray) -> Matrix:
        """(n,) what reaches the link beside the layers."""
        link: FloatArray = np.zeros(len(items), dtype=np.float32)
        if self.k:
            link = link + self.arrays["item_factors"][items] @ self._factors(state)
        if self.start is not None:
            link = link + self.offset + self.slope * self._started(state, items)
        if self.biases:
            link = link + self.arrays["item_bias"][items] + state.own[0]
        return np.asarray(link, dtype=np.float32)

    def _stars_and_slopes(self, state: UserState, items: IntArray) -> tuple[Matrix, NDArray[np.float64]]:
        """(n,) stars and their (n, own) derivatives by the user's own parameters."""
        traces: list[Trace] = []
        link = self._link(state, items, self._first(state, items), traces)
        slope = self.layers.backward(traces)
        own = slope @ self.arrays["first.user"]
        if self.k:
            item_factors = self.arrays["item_factors"][items]
            own[:, : self.k] += item_factors + (slope @ self.arrays["first.product"]) * item_factors
        if self.start is not None:
            gain = self.slope + slope @ self.arrays["first.start"]
            own = np.concatenate([gain[:, None] * self.start[items], own], axis=1)
        if self.biases:
            own = np.concatenate([np.ones((len(items), 1), np.float32), own], axis=1)
        slopes = own * self.link.slopes(link, state.sharpness)[:, None]
        return self.link.stars(link, state.sharpness), slopes.astype(np.float64)

    def _fit(
        self,
        state: UserState,
        history: History,
        centre: NDArray[np.float32],
        precision: NDArray[np.float64],
    ) -> UserState:
        """Gauss-Newton on squared error plus the prior, each step halved until it helps."""
        history = _newest(history, MOST)
        if len(history.items) == 0:
            return state

        def cost(stars: Matrix, own: NDArray[np.float32]) -> float:
            error = np.square(stars - history.values).sum() / self.noise
            return float(error + (precision * np.square(own - centre)).sum())

        for _ in range(STEPS):
            stars, slopes = self._stars_and_slopes(state, history.items)
            before = cost(stars, state.own)
            pull = slopes.T @ (history.values - stars) / self.noise - precision * (state.own - centre)
            step = _ridge_step(slopes, pull, precision, self.noise)
            for share in (1.0, 0.5, 0.25, 0.125):
                own = (state.own + share * step).astype(np.float32)
                tried = self._state(own, state.history, state.sharpness)
                if cost(self.score(tried, history.items), tried.own) < before:
                    state = tried
                    break
            else:
                return state
        return state


def _ridge_step(
    slopes: NDArray[np.float64], pull: NDArray[np.float64], precision: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """x of (slopes' slopes / noise + diag(precision)) x = pull: by the ratings (Woodbury) where they are
    fewer than the parameters, which they are for most new users."""
    count, width = slopes.shape
    if count >= width:
        whole = slopes.T @ slopes / noise + np.diag(precision)
        return np.asarray(np.linalg.solve(whole, pull), dtype=np.float64)
    spread = slopes / precision
    inner = spread @ slopes.T
    inner[np.diag_indices(count)] += noise
    step = pull / precision - spread.T @ np.linalg.solve(inner, spread @ pull)
    return np.asarray(step, dtype=np.float64)


def _newest(history: History, count: int) -> History:
    return History(history.items[-count:], history.values[-count:])


def _newer(history: History, before: History) -> History:
    """The ratings of ``history`` that ``before`` does not hold with the same value."""
    known = dict(zip(before.items.tolist(), before.values.tolist(), strict=True))
    pairs = zip(history.items.tolist(), history.values.tolist(), strict=True)
    rows = [row for row, (item, value) in enumerate(pairs) if known.get(item) != value]
    return History(history.items[rows], history.values[rows])
