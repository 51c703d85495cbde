"""manifest.json: what a release is, made of, trained on and good for.

Read through pydantic with ``extra="forbid"``: a release comes from outside the serving process. The
release id is a hash over the whole manifest, and with it over every file's hash: whatever is
edited afterwards, a weight in the manifest or a byte in an array, no longer fits it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.data.item_encoder import ItemEncoder
from recsys.data.split import SliceName
from recsys.ensemble.calibration import Correction
from recsys.ensemble.rating_intervals import RatingIntervals
from recsys.types import JsonObject

# 1 had no correction; 2 one ALS a ranker at most and no sparse links; 3 no rating intervals; 4 no lineage;
# 5 no item encoder; 6 no intervals in units of deviations.
SCHEMA_VERSION: Literal[7] = 7
ATTRIBUTES = "attributes/coefficients.npy"
READ_VERSIONS = (1, 2, 3, 4, 5, 6, 7)


class ManifestPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Scale(ManifestPart):
    low: float
    high: float


class DatasetCard(ManifestPart):
    """``last_timestamp`` is Unix seconds of the newest rating in the release, None without times; ``lineage``
    what served ratings were merged in (``Dataset.lineage``), None without."""

    name: str
    licence: str
    sha256: str
    scale: Scale
    last_timestamp: int | None
    users: int = Field(ge=1)
    items: int = Field(ge=1)
    lineage: JsonObject | None = None


class SplitCard(ManifestPart):
    protocol: str
    seed: int
    fingerprint: str
    counts: dict[SliceName, int]


class MemberCard(ManifestPart):
    """One model of the ensemble; ``weight`` is its part in the predicted rating."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # a folder under members/
    family: str
    config: JsonObject
    parameters: int = Field(ge=0)
    weight: float
    files: list[str]


class RatingBlendCard(ManifestPart):
    """How the members' weights were found ("mean", "greedy", "non_negative"), what corrects their sum,
    and the intervals around it."""

    method: str
    weights: dict[str, float]
    correction: Correction | None = None
    intervals: RatingIntervals | None = None


class RankingWeights(ManifestPart):
    """The list's score is ``ranking`` x (ranker's score / its best) + ``rating`` x (stars on 0..1)."""

    ranking: float = Field(ge=0)
    rating: float = Field(ge=0)


class RankingCard(ManifestPart):
    """``candidates`` of the ranker go to the members for their predicted rating."""

    ranker: str
    weights: RankingWeights
    candidates: int = Field(ge=1)
    report: JsonObject = Field(default_factory=dict)


class FoldInCard(ManifestPart):
    """What can answer for a user that training did not know, from ratings alone."""

    ranker: bool
    members: bool
    figures: JsonObject = Field(default_factory=dict)


class ProfileCard(ManifestPart):
    """The reference that drift is measured against: ``summary`` as JSON, the rest as arrays."""

    summary: JsonObject
    arrays: dict[str, str]


class MetricsCard(ManifestPart):
    """Figures of the run, named by slice and metric; empty where the run has none."""

    formula: JsonObject = Field(default_factory=dict)
    best: JsonObject = Field(default_factory=dict)
    ensemble: JsonObject = Field(default_factory=dict)
    recommender: JsonObject = Field(default_factory=dict)


class GoldenList(ManifestPart):
    """One user's list as the maker computed it; opening the release computes it again."""

    user: int = Field(ge=0)
    items: list[int]
    scores: list[float]
    predicted: list[float]


class FileCard(ManifestPart):
    """``dtype`` and ``shape`` for .npy arrays."""

    sha256: str
    bytes: int = Field(ge=0)
    dtype: str | None = None
    shape: list[int] | None = None


class Manifest(ManifestPart):
    """The fields of a release, in the order they are written. Weights sum to 1 where ``method`` says so.
    ``item_encoder`` makes the features of items that the release does not have, None where it has none."""

    schema_version: Literal[1, 2, 3, 4, 5, 6, 7] = SCHEMA_VERSION
    release_id: str
    complete: bool
    created: str
    versions: dict[str, str]
    dataset: DatasetCard
    split: SplitCard
    trained_on: list[SliceName]
    members: list[MemberCard] = Field(min_length=1)
    rating_blend: RatingBlendCard
    ranking: RankingCard
    fold_in: FoldInCard
    item_encoder: ItemEncoder | None = None
    reference_profile: ProfileCard | None
    metrics: MetricsCard
    golden_lists: list[GoldenList]
    files: dict[str, FileCard]

    @model_validator(mode="after")
    def _names_its_files(self) -> Manifest:
        profile = self.reference_profile.arrays.values() if self.reference_profile else ()
        attributes = () if self.item_encoder is None else (ATTRIBUTES,)
        for name in [*profile, *attributes, *(name for member in self.members for name in member.files)]:
            if name not in self.files:
                raise ValueError(f"{name!r} is not among its files")
        return self

    def computed_id(self) -> str:
        """sha256 over every field but the id itself: what ``release_id`` must be."""
        fields = self.model_dump(exclude={"release_id"})
        if self.schema_version < 7 and fields["rating_blend"]["intervals"] is not None:
            del fields["rating_blend"]["intervals"]["scaled"]
        if self.schema_version < 6:
            del fields["item_encoder"]
        if self.schema_version < 5:
            del fields["dataset"]["lineage"]
        if self.schema_version < 4:
            del fields["rating_blend"]["intervals"]
        if self.schema_version == 1:
            del fields["rating_blend"]["correction"]
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
