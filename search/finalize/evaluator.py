"""Figures of finished models on a slice: stars for its pairs, and how far they are off.

Predictions come from the packed members, as a release would give them: a person's state from the ratings
that the release will hold (train and valid), never from the slice that is judged. People whom nothing was
fitted on (``strong:USERS``) are folded in from theirs, by every member and by the ranker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import SliceName, Split
from recsys.ensemble.calibration import Correction
from recsys.models.artifact import load_artifact
from recsys.models.base import History, ModelArtifact, Scorer
from recsys.models.registry import family_named
from recsys.predictions import predict_pairs, scorer_deviations, scorer_kl, scorer_predictor
from recsys.release.arrays import LoadedCorrection
from recsys.release.loaded_release import LoadedMember
from recsys.release.pack import make_histories
from recsys.release.rating_ensemble import RatingEnsemble, mean_deviations
from recsys.release.release_writer import ReleaseMember
from recsys.release.user_state import UserState
from recsys.types import IntArray


@dataclass(frozen=True)
class Evaluator:
    """A dataset's slices, the histories that predictions may use, and those of people who are
    ``folded_in``."""

    dataset: Dataset
    split: Split
    histories: Callable[[int], History]
    folded_in: Mapping[int, History]

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> Evaluator:
        theirs = dataset.ratings.take(split.fold_in)
        history = make_histories(theirs)
        return cls(
            dataset,
            split,
            make_histories(dataset.ratings.take(split.joined("train", "valid"))),
            {int(user): history(int(user)) for user in np.unique(theirs.users)},
        )

    @property
    def known_ratings(self) -> Ratings:
        """The ratings that a prediction for test may use: train, valid and fold_in."""
        return self.dataset.ratings.take(self.split.joined("train", "valid", "fold_in"))

    def slice(self, name: SliceName) -> Ratings:
        return self.dataset.ratings.take(self.split.rows(name))

    def predict(self, member: Path | ModelArtifact, ratings: Ratings) -> NDArray[np.float32]:
        """(n,) stars of a member for the pairs of ``ratings``, as a release predicts them."""
        return predict_pairs(scorer_predictor(self._scorer(member), self.folded_in), ratings)

    def judge(self, member: Path, ratings: Ratings) -> tuple[NDArray[np.float32], float | None]:
        """As ``predict``, and the KL of the member's latent on these pairs (nats), None where the packed
        member does not estimate it."""
        scorer = self._scorer(member)
        stars = predict_pairs(scorer_predictor(scorer, self.folded_in), ratings)
        return stars, scorer_kl(scorer, ratings, histories=self.folded_in)

    def deviations(
        self, members: Sequence[tuple[Path | ModelArtifact, float]], ratings: Ratings
    ) -> NDArray[np.float32] | None:
        """(n,) stars: how far each of ``ratings`` lies around its prediction by the weighted ``members``'
        posteriors, NaN beyond a sample; None where no member has one."""
        having = [
            (weight, deviations)
            for path, weight in members
            if (deviations := scorer_deviations(self._scorer(path), ratings, histories=self.folded_in))
            is not None
        ]
        return mean_deviations(having, ratings.scale)

    def _scorer(self, member: Path | ModelArtifact) -> Scorer:
        artifact = load_artifact(member) if isinstance(member, Path) else member
        return family_named(artifact.family).scorer(artifact, self.histories)


def rating_predictor(
    members: Sequence[ReleaseMember], ratings: Ratings, correction: Correction | None
) -> Callable[[int, IntArray], NDArray[np.float32]]:
    """The rating ensemble that a release of ``members`` holds, with user states from ``ratings``."""
    histories = make_histories(ratings)
    opened = tuple(
        LoadedMember(
            member.name, member.weight, family_named(member.packed.family).scorer(member.packed, histories)
        )
        for member in members
    )
    stars = RatingEnsemble(
        opened, ratings.scale, None if correction is None else LoadedCorrection.of(correction, ratings)
    )
    return lambda user, items: stars.predict(
        stars.states(UserState(user, histories(user), needs_fold_in=False)), items
    )
