"""The domain types of serving: exposures, feedback, arms, the state of an experiment.

Where a type is part of a YAML or of a request body, pydantic validates it by the bounds of its fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from recsys.types import JsonObject
from serving.engine.exploration import MAX_EXPLORE
from serving.release_registry import SCHEME

CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
SettingName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


def _absolute(release: str) -> str:
    return release if release.startswith(SCHEME) else str(Path(release).absolute())


# Strict: neither true nor "4".
Number = Annotated[float, Field(strict=True)]
Share = Annotated[Number, Field(ge=0, le=1)]
ReleaseName = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_absolute)]
# impression, click, rating, and custom kinds; the experiment's metrics give them weights.
FeedbackKind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Owner = Literal["manual", "rollout"]
ExperimentKind = Literal["split", "interleaved"]


@dataclass(frozen=True)
class Exposure:
    """A list that was shown, or of a ``shadow`` arm computed and not shown. ``at`` is Unix seconds, ``items``
    are external ids, best first, ``predicted`` their predicted ratings. ``propensities`` are the
    probabilities of the items at their positions: 1 in a deterministic list, () where none were logged.
    ``teams`` names the arm of each item of an interleaved list, "" for an item of all arms; () for any other
    list."""

    exposure_id: str
    at: float
    user_id: str
    experiment: str
    arm: str
    revision: int
    release_id: str
    items: tuple[str, ...]
    predicted: tuple[float, ...]
    source: str
    milliseconds: float
    shadow: bool = False
    propensities: tuple[float, ...] = ()
    teams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feedback:
    """An event of a user. ``value`` is the rating in stars, None for other kinds; ``predicted`` is the rating
    that the user's arm predicted before it received ``value``."""

    event_id: str
    exposure_id: str | None
    user_id: str
    kind: FeedbackKind
    item_id: str | None
    value: float | None
    at: float
    predicted: float | None = None


@dataclass(frozen=True)
class ArmSpec:
    """One release in an experiment: a folder, or ``models:/name@alias`` in MLflow.

    ``share`` in [0, 1] of the users; ``shadow`` arms compute lists that are not shown. ``explore`` is the
    share of a list's positions that are drawn at random from further candidates, at most MAX_EXPLORE, so that
    all other positions keep a high propensity."""

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED
    name: SettingName
    release: ReleaseName
    share: Share
    shadow: bool = False
    explore: Annotated[Number, Field(ge=0, le=MAX_EXPLORE)] = 0.0


@dataclass(frozen=True)
class SlotRange:
    """The users whose hash falls on slots ``start`` to ``end`` (exclusive) are in ``arm``."""

    arm: str
    start: int
    end: int


@dataclass(frozen=True)
class ExperimentState:
    """A revision of an experiment, changed by compare-and-set on ``revision``.

    Attributes:
        owner: who may write it.
        holdout: share of users who get the first arm and are not counted.
        overrides: testers' arms, by user id.
        ranges: the arms' slots, which the store derives from the shares and the previous revision.
        kind: "split" shows each user one arm's lists, "interleaved" merges those of all arms with a share.
        metrics: as a YAML's ``metrics``, None for the deployment's.
    """

    name: str
    revision: int
    salt: str
    arms: tuple[ArmSpec, ...]
    owner: Owner = "manual"
    holdout: float = 0.0
    overrides: dict[str, str] = dataclass_field(default_factory=dict)
    ranges: tuple[SlotRange, ...] = ()
    kind: ExperimentKind = "split"
    metrics: JsonObject | None = None

    @property
    def interleaved_arms(self) -> tuple[str, ...]:
        """The arms whose lists are merged, () in a split experiment."""
        names = tuple(arm.name for arm in self.arms if arm.share > 0)
        return names if self.kind == "interleaved" else ()
