"""Answers of a packed hybrid VAE, in numpy alone; equal to the torch network in evaluation mode.

A known user's state is their rows of the tables. A new user's history path is exact; their own bias and
embedding, which were never trained, are found by a few Gauss-Newton steps on the ratings given, with the
trained users' mean and variance as the prior: with no rating they are an average user, with many they
are fitted. A known user who rated more starts from their own rows instead.
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

# Ratings that the embedding is fitted to, the newest: bounds a fold-in to a few milliseconds.
MOST = 128
SAMPLE = 32  # of them that tell how well training knew a user
MOST_REMEMBERED = 10_000  # users whose trained precision is kept: some hundred bytes each
ROWS = 512  # ratings in a pass of several users: their sums stay in the processor's cache


class HybridVaeScorer:
    def __init__(self, member: ModelArtifact, histories: Callable[[int], History]) -> None:
        settings, arrays = member.settings, member.arrays
        self.arrays, self.histories = arrays, histories
        self.centre, self.noise = np.float32(settings["centre"]), float(settings["noise_variance"])
        self.limit = int(settings["history_limit"])
        self.response = NumpyNetwork(member)
        self._new_sharpness = np.float32(settings.get("sharpness", 1.0))
        self._tables = [arrays[name] for name in ("history.0", "history.1") if name in arrays]
        self._squares = arrays.get("history.squares")  # of attention's weights
        self._precisions: dict[int, NDArray[np.float64]] = {}  # of users that were folded in
        self._prior_precision = 1 / arrays["prior.variance"].astype(np.float64)

    def known_user(self, user: int) -> UserEncoding:
        return self.known_users([user])[0]

    def known_users(self, users: Sequence[int]) -> list[UserEncoding]:
        return _unstack(self._trained(np.asarray(users)))

    def fold_in(self, history: History, user: int | None = None) -> UserEncoding:
        return self.fold_in_many([history], [user])[0]

    def fold_in_many(self, histories: Sequence[History], users: Sequence[int | None]) -> list[UserEncoding]:
        """``fold_in`` of several users, in as few passes through the network as hold their ratings."""
        count = len(users)
        own = np.repeat(self.arrays["prior.mean"][None], count, axis=0)
        sharpness = np.full(count, self._new_sharpness)
        precision = np.repeat(self._prior_precision[None], count, axis=0)
        sums, given = self._sums(histories), list(histories)
        indices = np.array([index for index, user in enumerate(users) if user is not None], dtype=np.int64)
        if len(indices):
            rows = np.array([user for user in users if user is not None])
            trained, before = self._trained(rows), [self.histories(int(row)) for row in rows]
            own[indices], sharpness[indices] = trained.own, trained.sharpness
            for index, old in zip(indices, before, strict=True):
                given[index] = newer(histories[index], old)
            fresh = np.array([len(given[index].items) > 0 for index in indices])
            if sums is not None and trained.history is not None:  # who tells nothing new stays as trained
                sums[indices[~fresh]] = trained.history[~fresh]
            if fresh.any():
                kept = [old for old, is_fresh in zip(before, fresh, strict=True) if is_fresh]
                chosen = np.flatnonzero(fresh)
                precision[indices[fresh]] += self._learned(rows[chosen], trained.at(chosen), kept)
        states = self.response.state(own, sums, sharpness)
        given = [newest(history, MOST) for history in given]
        for some in _chunks(given):
            moved = fit(
                self.response, states.at(some), self._ratings(given, some), precision[some], self.noise
            )
            states.own[some], states.half[some] = moved.own, moved.half
        return _unstack(states)

    def score(self, state: UserEncoding, items: IntArray) -> Matrix:
        return self.response.rated(state, self.response.items(items))

    @property
    def has_kl(self) -> bool:
        """Whether the packed model holds what ``kl`` needs."""
        return self.response.has_kl

    def kl(self, state: UserEncoding, items: IntArray) -> Matrix:
        """(len(items),) KL of the latent of each pair, nats, mean over dimensions."""
        return self.response.kl(state, self.response.items(items))

    def score_many(self, states: Sequence[UserEncoding], items: Sequence[IntArray]) -> list[Matrix]:
        """``score`` of several users in one pass through the layers."""
        counts = [len(rows) for rows in items]
        rows = UserEncoding.together(states).at(np.repeat(np.arange(len(counts)), counts))
        stars = self.response.rated(rows, self.response.items(np.concatenate(items).astype(np.int64)))
        return np.split(stars, np.cumsum(counts)[:-1])

    def _trained(self, users: IntArray) -> UserEncoding:
        arrays = self.arrays
        parts = [arrays["user_embedding"][users].astype(np.float32)]
        if "start_users" in arrays:
            parts.insert(0, arrays["start_users"][users])
        if "user_bias" in arrays:
            parts.insert(0, arrays["user_bias"][users][:, None])
        own = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        sharpness = arrays.get("ordinal.sharpness")
        sharp = np.full(len(users), self._new_sharpness) if sharpness is None else sharpness[users]
        return self.response.state(own, arrays["user_history"][users] if self._tables else None, sharp)

    def _ratings(self, histories: Sequence[History], indices: IntArray) -> UserRatings:
        chosen = [histories[index] for index in indices]
        items = self.response.items(np.concatenate([history.items for history in chosen]).astype(np.int32))
        values = np.concatenate([history.values for history in chosen]).astype(np.float64)
        return UserRatings(np.array([len(history.items) for history in chosen]), items, values)

    def _learned(
        self, users: IntArray, trained: UserEncoding, before: Sequence[History]
    ) -> NDArray[np.float64]:
        """(users, own) the precision that training gave them, remembered for their next ratings."""
        known = self._precisions
        new = [index for index, user in enumerate(users.tolist()) if user not in known]
        if new:
            if len(known) + len(new) > MOST_REMEMBERED:
                known = self._precisions = {}
                new = list(range(len(users)))
            learned = self._precision_of(trained.at(np.array(new)), [before[index] for index in new])
            known.update(zip(users[new].tolist(), learned, strict=True))
        return np.stack([known[user] for user in users.tolist()])

    def _precision_of(self, trained: UserEncoding, before: Sequence[History]) -> NDArray[np.float64]:
        """(users, own): what training learnt of them already weighs like the ratings that it was learnt
        from, read from a sample of them."""
        precision = np.zeros(trained.own.shape)
        before = [newest(history, MOST) for history in before]
        weights = np.array([max(len(history.items) / SAMPLE, 1.0) for history in before]) / self.noise
        before = [spaced(history, SAMPLE) for history in before]
        for some in _chunks(before):
            ratings = self._ratings(before, some)
            rows = trained.at(some[ratings.owners])
            traces: list[Trace] = []
            link = self.response.link(rows, ratings.items, traces)
            slopes = self.response.slopes(rows.sharpness, ratings.items, link, traces)
            precision[some] = np.add.reduceat(np.square(slopes), ratings.starts) * weights[some, None]
        return precision

    def _sums(self, histories: Sequence[History]) -> Matrix | None:
        """(users, k) h of users with these ratings."""
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
                # Of each head, for each of its columns.
                squares = np.add.reduceat(self._squares[items], starts)
                sums[filled] /= np.repeat(np.sqrt(squares), rows.shape[1] // squares.shape[1], axis=1)
        if self._squares is None:
            sums /= np.sqrt(np.maximum(counts, 1))[:, None]
        return sums


def newest(history: History, count: int) -> History:
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
    at = np.searchsorted(sorted_items, history.items, side="right") - 1
    same = (sorted_items[at] == history.items) & (before.values[order[at]] == history.values)
    return History(history.items[~same], history.values[~same])


def _unstack(states: UserEncoding) -> list[UserEncoding]:
    return [states.at(index) for index in range(len(states.own))]


def _chunks(histories: Sequence[History]) -> Iterator[IntArray]:
    """Places of the histories that hold anything, in lots of at most ``ROWS`` ratings (or one history)."""
    lot: list[int] = []
    held = 0
    for index, history in enumerate(histories):
        count = len(history.items)
        if lot and held + count > ROWS:
            yield np.array(lot)
            lot, held = [], 0
        if count:
            lot.append(index)
            held += count
    if lot:
        yield np.array(lot)
