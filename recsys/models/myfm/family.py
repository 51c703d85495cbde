"""myFM's line in the registry. Only training needs the library; its packed members are arrays."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer
from recsys.models.myfm.config import MyFmConfig
from recsys.models.ranges import Categorical, IntRange, Range

if TYPE_CHECKING:
    from recsys.models.myfm.trainer import MyFmTrainer

# pkg_resources is what the library reads its version with; setuptools has it up to 80.
NEEDED = ("myfm", "pkg_resources")


RANGES: dict[str, Range] = {
    "factors": IntRange(6, 16, 2),
    "output": Categorical({"ordinal": "ordinal", "gaussian": "gaussian"}),
}


def require_library() -> None:
    """Raises InputError where the extra is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the family myfm trains by the library myFM, and {' and '.join(missing)} cannot be imported "
            "here; install the extra: python -m pip install -e '.[myfm]', or leave the family out"
        )


def build(config: MyFmConfig, data: TrainingData, *, epochs: int, seed: int, device: object) -> MyFmTrainer:
    require_library()
    from recsys.models.myfm.trainer import MyFmTrainer

    return MyFmTrainer(config, data, seed=seed)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    from recsys.models.myfm.scorer import MyFmScorer

    return MyFmScorer(member, histories)


def check(config: MyFmConfig, data: TrainingData) -> None:
    """Raises InputError where the library is missing or there is nothing to sample from."""
    require_library()
    if len(data.train) < 2:
        raise InputError(
            f"the training slice holds {len(data.train)} ratings, myfm needs 2 or more; use more data"
        )


FAMILY = ModelFamily("myfm", MyFmConfig, build, make_scorer, RANGES, check, require_library)
