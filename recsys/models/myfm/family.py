"""Registry entry of myFM. Only training needs the library; a packed member is arrays."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer, require_two_ratings
from recsys.models.myfm.config import MyFmConfig
from recsys.models.ranges import Categorical, IntRange, Range

if TYPE_CHECKING:
    from recsys.models.myfm.trainer import MyFmTrainer

# The library reads its version with pkg_resources, which setuptools has up to version 80.
NEEDED = ("myfm", "pkg_resources")


RANGES: dict[str, Range] = {
    "factors": IntRange(6, 16, 2),
    "output": Categorical({"ordinal": "ordinal", "gaussian": "gaussian"}),
}


def require_library() -> None:
    """Checks that the extra is installed.

    Raises:
        InputError: It is not.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the family myfm trains by the library myFM, and {' and '.join(missing)} cannot be imported "
            "here; install the extra: python -m pip install -e '.[myfm]', or leave the family out"
        )


def build(config: MyFmConfig, data: TrainingData, *, epochs: int, seed: int, device: object) -> MyFmTrainer:
    """Makes the trainer, as ``ModelFamily.build``; it runs on one CPU core, all in the first epoch."""
    require_library()
    from recsys.models.myfm.trainer import MyFmTrainer

    return MyFmTrainer(config, data, seed=seed)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    """Makes the scorer, as ``ModelFamily.scorer``."""
    from recsys.models.myfm.scorer import MyFmScorer

    return MyFmScorer(member, histories)


def check(config: MyFmConfig, data: TrainingData) -> None:
    """Checks a trial's data, as ``ModelFamily.check``.

    Raises:
        InputError: The library is missing, or there are too few ratings to sample from.
    """
    require_library()
    require_two_ratings("myfm", data)


FAMILY = ModelFamily("myfm", MyFmConfig, build, make_scorer, RANGES, check, require_library)
