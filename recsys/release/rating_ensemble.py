"""The rating ensemble of a release: weighted members and their correction, for one or several users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.models.base import Scorer
from recsys.release.arrays import LoadedCorrection
from recsys.release.loaded_release import LoadedMember
from recsys.release.user_state import UserState
from recsys.types import FloatArray, IntArray

LEAST_DEVIATION = 0.02  # of the scale: no rating is as certain as a posterior of few ratings may say


class RatingEnsemble:
    """Predicts stars from the members' states of a user, which are computed once per user."""

    def __init__(
        self,
        members: tuple[LoadedMember, ...],
        scale: RatingScale,
        correction: LoadedCorrection | None = None,
    ) -> None:
        self._members = tuple(member for member in members if member.weight != 0)
        self._scale, self._correction = scale, correction

    def states(self, user_state: UserState) -> list[Any]:
        """The members' states of a user, and the correction's coefficients as the last.

        Args:
            user_state: Of the user.
        """
        return self.states_many([user_state])[0]

    def states_many(self, user_states: Sequence[UserState]) -> list[list[Any]]:
        """``states`` of several users, which are also stored in ``user_states``.

        Args:
            user_states: Of the users.

        Returns:
            One list of states per user.
        """
        for _ in self.state_steps(user_states):
            pass
        return [user_state.states or [] for user_state in user_states]

    def state_steps(self, user_states: Sequence[UserState]) -> Iterator[None]:
        """Computes ``states_many`` one member per step; users have their states after the last.

        Args:
            user_states: Of the users; changed in place.
        """
        new = [user_state for user_state in user_states if user_state.states is None]
        by_member = []
        for member in self._members if new else ():
            by_member.append(_states(member.scorer, new))
            yield
        all_states = [list(states) for states in zip(*by_member, strict=True)] or [[] for _ in new]
        for user_state, states in zip(new, all_states, strict=True):
            if self._correction is not None:
                values = user_state.history.values
                states.append(self._correction.correction.of_history(values, self._scale))
            user_state.states = states

    def predict(self, states: list[Any], items: IntArray) -> NDArray[np.float32]:
        """Predicted stars of one user.

        Args:
            states: Of ``states``.
            items: (n,) rows.

        Returns:
            (n,) stars inside the scale.
        """
        return self.predict_batch([(states, items)])[0]

    def predict_batch(self, parts: Sequence[tuple[list[Any], IntArray]]) -> list[NDArray[np.float32]]:
        """``predict`` of several users.

        Args:
            parts: Each user's states and item rows.

        Returns:
            One array of stars per user.
        """
        totals = [np.zeros(len(items), dtype=np.float32) for _, items in parts]
        for index, member in enumerate(self._members):
            weight = np.float32(member.weight)
            for total, scores in zip(totals, _scores(member.scorer, index, parts), strict=True):
                total += weight * scores
        if self._correction is not None:
            apply, table = self._correction.correction.apply, self._correction.items
            totals = [
                apply(total, states[-1], table[items])
                for total, (states, items) in zip(totals, parts, strict=True)
            ]
        return [np.clip(total, self._scale.low, self._scale.high) for total in totals]

    def deviations(self, states: list[Any], items: IntArray) -> NDArray[np.float32] | None:
        """Standard deviation of ratings around their predictions.

        Args:
            states: Of ``states``.
            items: (n,) rows.

        Returns:
            (n,) stars, the weighted mean over members with a posterior; None where there is none.
        """
        deviations = [
            (member.weight, member.scorer.deviations(state, items))
            for member, state in zip(self._members, states, strict=False)  # a correction's part comes last
            if hasattr(member.scorer, "deviations")
        ]
        return mean_deviations(deviations, self._scale)


def mean_deviations(
    members: Sequence[tuple[float, NDArray[np.float32]]], scale: RatingScale
) -> NDArray[np.float32] | None:
    """The weighted mean of posterior deviations, at least ``LEAST_DEVIATION`` of the scale.

    Args:
        members: Weight and (n,) deviations of each.
        scale: Of the ratings.

    Returns:
        (n,) stars; None where the weights sum to 0.
    """
    total = sum(weight for weight, _ in members)
    if total <= 0:
        return None
    mean = sum(np.float32(weight / total) * deviations for weight, deviations in members)
    return np.maximum(mean, np.float32(LEAST_DEVIATION * scale.span))


def posterior_deviations(
    members: Sequence[LoadedMember], user: int, items: IntArray, scale: RatingScale
) -> NDArray[np.float32] | None:
    """``RatingEnsemble.deviations`` of a trained user, without the states of members that have no posterior.

    Args:
        members: Of the release.
        user: Row.
        items: (n,) rows.
        scale: Of the ratings.

    Returns:
        (n,) stars; None where no member has a posterior.
    """
    deviations = [
        (member.weight, member.scorer.deviations(member.scorer.known_user(user), items))
        for member in members
        if member.weight != 0 and hasattr(member.scorer, "deviations")
    ]
    return mean_deviations(deviations, scale)


def _states(scorer: Scorer, user_states: Sequence[UserState]) -> list[Any]:
    """What one member works out for every person."""
    states: list[Any] = [None] * len(user_states)
    known = [
        index
        for index, user_state in enumerate(user_states)
        if user_state.user is not None and not user_state.needs_fold_in
    ]
    folding = sorted(set(range(len(user_states))) - set(known))
    if known:
        users = [user_states[index].user for index in known]
        batch_method = getattr(scorer, "known_users", None) or partial(map, scorer.known_user)
        for index, state in zip(known, batch_method(users), strict=True):
            states[index] = state
    if folding:
        histories, rows = (
            [user_states[index].history for index in folding],
            [user_states[index].user for index in folding],
        )
        batch_method = getattr(scorer, "fold_in_many", None) or partial(map, scorer.fold_in)
        for index, state in zip(folding, batch_method(histories, rows), strict=True):
            states[index] = state
    return states


def _scores(scorer: Scorer, index: int, parts: Sequence[tuple[list[Any], IntArray]]) -> Sequence[FloatArray]:
    """What one member, number ``index``, says of every part."""
    batch_method = getattr(scorer, "score_many", None)
    if batch_method is not None and len(parts) > 1:
        scores: Sequence[FloatArray] = batch_method(
            [states[index] for states, _ in parts], [items for _, items in parts]
        )
        return scores
    return [scorer.score(states[index], items) for states, items in parts]
