"""Predictions of a packed hybrid VAE, in numpy alone; equal to the torch network in evaluation mode.

A known user's state is their rows of the tables. A new user's history is exact; their bias and embedding,
which were not trained, are fitted to their ratings by a Gauss-Newton step, with the trained users' mean and
variance as the prior: without ratings the user is an average one. A known user with new ratings starts from
their rows instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History, ModelArtifact
from recsys.models.hybrid_vae.fold_in import UserRatings, fit
from recsys.models.hybrid_vae.numpy_layers import Matrix, Trace
from recsys.models.hybrid_vae.numpy_network import NumpyNetwork, UserEncoding
from recsys.types import IntArray

# Newest ratings that the embedding is fitted to: bounds a fold-in to a few milliseconds.
MOST = 128
SAMPLE = 32  # of them from which a trained user's precision is estimated
MOST_CACHED = 10_000  # users whose trained precision is cached, at some hundred bytes each
ROWS = 512  # ratings of a batch of users, whose sums fit the CPU's cache


class HybridVaeScorer:
    """Predicts from a packed network. A user's state is a ``UserEncoding``."""

    def __init__(self, member: ModelArtifact, histories: Callable[[int], History]) -> None:
        settings, arrays = member.settings, member.arrays
        self.arrays, self.histories = arrays, histories
        self.centre, self.noise = np.float32(settings["centre"]), float(settings["noise_variance"])
        self.limit = int(settings["history_limit"])
        self.network = NumpyNetwork(member)
        self._new_sharpness = np.float32(settings.get("sharpness", 1.0))
        self._tables = [arrays[name] for name in ("history.0", "history.1") if name in arrays]
        self._squares = arrays.get("history.squares")  # of attention's weights
        self._precisions: dict[int, NDArray[np.float64]] = {}  # trained, of users that were folded in
        self._prior_precision = 1 / arrays["prior.variance"].astype(np.float64)

    def known_user(self, user: int) -> UserEncoding:
        return self.known_users([user])[0]

    def known_users(self, users: Sequence[int]) -> list[UserEncoding]:
        """``known_user`` of each of ``users``."""
        return _unstack(self._trained(np.asarray(users)))

    def fold_in(self, history: History, user: int | None = None) -> UserEncoding:
        return self.fold_in_many([history], [user])[0]

    def fold_in_many(self, histories: Sequence[History], users: Sequence[int | None]) -> list[UserEncoding]:
        """``fold_in`` of several users, in as few passes through the network as possible.

        Args:
            histories: Of each user.
            users: The row of a known user, None for a new one.

        Returns:
            A state for each.
        """
        count = len(users)
        parameters = np.repeat(self.arrays["prior.mean"][None], count, axis=0)
        sharpness = np.full(count, self._new_sharpness)
        precision = np.repeat(self._prior_precision[None], count, axis=0)
        sums, new_ratings = self._sums(histories), list(histories)
        indices = np.array([index for index, user in enumerate(users) if user is not None], dtype=np.int64)
        if len(indices):
            rows = np.array([user for user in users if user is not None])
            trained, before = self._trained(rows), [self.histories(int(row)) for row in rows]
            parameters[indices], sharpness[indices] = trained.parameters, trained.sharpness
            for index, old in zip(indices, before, strict=True):
                new_ratings[index] = newer(histories[index], old)
            grown = np.array([len(new_ratings[index].items) > 0 for index in indices])
            if sums is not None and trained.history is not None:  # without new ratings as trained
                sums[indices[~grown]] = trained.history[~grown]
            if grown.any():
                grown_before = [old for old, has_new in zip(before, grown, strict=True) if has_new]
                chosen = np.flatnonzero(grown)
                precision[indices[grown]] += self._learned(rows[chosen], trained.at(chosen), grown_before)
        states = self.network.state(parameters, sums, sharpness)
        new_ratings = [newest(history, MOST) for history in new_ratings]
        for batch in _batches(new_ratings):
            ratings = self._ratings(new_ratings, batch)
            fitted = fit(self.network, states.at(batch), ratings, precision[batch], self.noise)
            states.parameters[batch], states.half[batch] = fitted.parameters, fitted.half
        return _unstack(states)

    def score(self, state: UserEncoding, items: IntArray) -> Matrix:
        return self.network.predict(state, self.network.items(items))

    @property
    def has_kl(self) -> bool:
        """Whether the packed model has what ``kl`` needs."""
        return self.network.has_kl

    def kl(self, state: UserEncoding, items: IntArray) -> Matrix:
        """(len(items),) KL of the latent of each pair, nats, mean over dimensions."""
        return self.network.kl(state, self.network.items(items))

    def score_many(self, states: Sequence[UserEncoding], items: Sequence[IntArray]) -> list[Matrix]:
        """``score`` of several users in a single pass; ``items`` are the rows for each of ``states``."""
        counts = [len(rows) for rows in items]
        users = UserEncoding.stack(states).at(np.repeat(np.arange(len(counts)), counts))
        stars = self.network.predict(users, self.network.items(np.concatenate(items).astype(np.int64)))
        return np.split(stars, np.cumsum(counts)[:-1])

    def _trained(self, users: IntArray) -> UserEncoding:
        arrays = self.arrays
        columns = [arrays["user_embedding"][users].astype(np.float32)]
        if "start_users" in arrays:
            columns.insert(0, arrays["start_users"][users])
        if "user_bias" in arrays:
            columns.insert(0, arrays["user_bias"][users][:, None])
        parameters = np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]
        history = arrays["user_history"][users] if self._tables else None
        learned = arrays.get("ordinal.sharpness")
        sharpness = np.full(len(users), self._new_sharpness) if learned is None else learned[users]
        return self.network.state(parameters, history, sharpness)

    def _ratings(self, histories: Sequence[History], indices: IntArray) -> UserRatings:
        chosen = [histories[index] for index in indices]
        items = self.network.items(np.concatenate([history.items for history in chosen]).astype(np.int32))
        values = np.concatenate([history.values for history in chosen]).astype(np.float64)
        return UserRatings(np.array([len(history.items) for history in chosen]), items, values)

    def _learned(
        self, users: IntArray, trained: UserEncoding, before: Sequence[History]
    ) -> NDArray[np.float64]:
        """(users, parameters) precision of trained users, cached for their next ratings."""
        cache = self._precisions
        new = [index for index, user in enumerate(users.tolist()) if user not in cache]
        if new:
            if len(cache) + len(new) > MOST_CACHED:
                cache = self._precisions = {}
                new = list(range(len(users)))
            learned = self._precision_of(trained.at(np.array(new)), [before[index] for index in new])
            cache.update(zip(users[new].tolist(), learned, strict=True))
        return np.stack([cache[user] for user in users.tolist()])

    def _precision_of(self, trained: UserEncoding, before: Sequence[History]) -> NDArray[np.float64]:
        """(users, parameters) Gauss-Newton precision of trained parameters by the ratings that they were
        trained on, estimated from a sample of them."""
        precision = np.zeros(trained.parameters.shape)
        before = [newest(history, MOST) for history in before]
        weights = np.array([max(len(history.items) / SAMPLE, 1.0) for history in before]) / self.noise
        before = [spaced(history, SAMPLE) for history in before]
        for batch in _batches(before):
            ratings = self._ratings(before, batch)
            rows = trained.at(batch[ratings.owners])
            traces: list[Trace] = []
            link = self.network.link(rows, ratings.items, traces)
            slopes = self.network.slopes(rows.sharpness, ratings.items, link, traces)
            precision[batch] = np.add.reduceat(np.square(slopes), ratings.starts) * weights[batch, None]
        return precision

    def _sums(self, histories: Sequence[History]) -> Matrix | None:
        """(users, k) h of users with ``histories``."""
        if not self._tables:
            return None
        if self.limit:
            histories = [newest(history, self.limit) for history in histories]
        counts = np.array([len(history.items) for history in histories])
        sums = np.zeros((len(counts), self._tables[0].shape[1]), dtype=np.float32)
        filled = counts > 0
        if filled.any():
            items = np.concatenate([history.items for history in histories])
            rows = self._tables[0][items]
            starts = (np.cumsum(counts) - counts)[filled]
            if len(self._tables) > 1:
                values = np.concatenate([history.values for history in histories]) - self.centre
                rows += values[:, None] * self._tables[1][items]
            sums[filled] = np.add.reduceat(rows, starts)
            if self._squares is not None:
                # A head's squares apply to each of its columns.
                squares = np.add.reduceat(self._squares[items], starts)
                sums[filled] /= np.repeat(np.sqrt(squares), rows.shape[1] // squares.shape[1], axis=1)
        if self._squares is None:
            sums /= np.sqrt(np.maximum(counts, 1))[:, None]
        return sums


def newest(history: History, count: int) -> History:
    """The last ``count`` ratings."""
    return History(history.items[-count:], history.values[-count:])


def spaced(history: History, count: int) -> History:
    """At most ``count`` ratings, evenly spaced."""
    if len(history.items) <= count:
        return history
    rows = np.linspace(0, len(history.items) - 1, count).astype(np.int64)
    return History(history.items[rows], history.values[rows])


def newer(history: History, before: History) -> History:
    """The ratings of ``history`` that ``before`` does not hold with the same value."""
    if not len(before.items):
        return history
    order = np.argsort(before.items, kind="stable")
    sorted_items = before.items[order]
    # The last of equal items: the newest rating counts.
    index = np.searchsorted(sorted_items, history.items, side="right") - 1
    same = (sorted_items[index] == history.items) & (before.values[order[index]] == history.values)
    return History(history.items[~same], history.values[~same])


def _unstack(states: UserEncoding) -> list[UserEncoding]:
    return [states.at(index) for index in range(len(states.parameters))]


def _batches(histories: Sequence[History]) -> Iterator[IntArray]:
    """Indices of the non-empty histories, in batches of at most ``ROWS`` ratings (or a single history)."""
    batch: list[int] = []
    size = 0
    for index, history in enumerate(histories):
        count = len(history.items)
        if batch and size + count > ROWS:
            yield np.array(batch)
            batch, size = [], 0
        if count:
            batch.append(index)
            size += count
    if batch:
        yield np.array(batch)
