"""A loaded release and its members: the values that recommending, evaluation and serving work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.data.user_groups import UserGroups
from recsys.errors import InputError
from recsys.models.artifact import load_artifact
from recsys.models.base import Scorer
from recsys.models.registry import FAMILIES
from recsys.ranking.ranker import Ranker
from recsys.release import files
from recsys.release.arrays import Histories, IdIndex, ItemCatalogue, LoadedCorrection, Popularity
from recsys.release.attribute_map import AttributeMap
from recsys.release.manifest import Manifest
from recsys.types import Arrays, JsonObject

IN_MEMORY_BYTES = 64 << 20  # a release up to this size is read whole, a larger one memory-mapped
# What arrays that do not fit together raise: another dtype or shape, a key that is not there.
MISFITS = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, ArithmeticError)


@dataclass(frozen=True)
class LoadedMember:
    """One of the ensemble, ready to answer; ``weight`` as in the manifest."""

    name: str
    weight: float
    scorer: Scorer


@dataclass(frozen=True)
class Release:
    """An opened release; arrays are memory-mapped and read-only."""

    folder: Path
    manifest: Manifest
    users: IdIndex
    items: ItemCatalogue
    histories: Histories
    popularity: Popularity
    members: tuple[LoadedMember, ...]
    correction: LoadedCorrection | None
    ranker: Ranker
    attributes: AttributeMap | None = None

    @property
    def release_id(self) -> str:
        return self.manifest.release_id

    def user_groups(self) -> UserGroups | None:
        """What users are told apart by: the columns of the table that they were described by."""
        return UserGroups.load(self.folder / "users")

    def profile(self) -> tuple[JsonObject, Arrays] | None:
        """The reference profile for drift, as ``recsys.release.profile.unpack`` takes it."""
        card = self.manifest.reference_profile
        if card is None:
            return None
        return card.summary, {name: files.map_array(self.folder / path) for name, path in card.arrays.items()}


def mmap_release(folder: Path, manifest: Manifest) -> Release:
    """The release in ``folder`` with its arrays, hashes not checked.

    A small release is read into memory, so that a file that is changed or cut off later cannot stop the
    process (a mapped page beyond a file's end is a bus error); a large one is mapped and shared.

    Raises:
        InputError: Where a family is unknown or the arrays do not fit the manifest or each other.
    """
    small = sum(card.bytes for card in manifest.files.values()) <= IN_MEMORY_BYTES
    try:
        with files.reading(in_memory=small):
            release = _open(folder, manifest, in_memory=small)
        _require_fit(release)
    except InputError:
        raise
    except MISFITS as error:
        raise InputError(
            f"{folder}: its files do not fit together ({type(error).__name__}: {error}); copy the release "
            "again or make a new one"
        ) from error
    return release


def _open(folder: Path, manifest: Manifest, *, in_memory: bool) -> Release:
    histories = Histories.load(folder / "histories")
    members = []
    for card in manifest.members:
        if card.family not in FAMILIES:
            raise InputError(
                f"{folder} has a member of family {card.family!r}, which this version does not know; it has "
                f"{', '.join(sorted(FAMILIES))}"
            )
        artifact = load_artifact(folder / "members" / card.name)
        if in_memory:
            artifact = replace(artifact, arrays=files.copies(artifact.arrays))
        scorer = FAMILIES[card.family].scorer(artifact, histories)
        members.append(LoadedMember(card.name, card.weight, scorer))
    correction, encoder = manifest.rating_blend.correction, manifest.item_encoder
    ranker = Ranker.open(folder / "ranker")
    if in_memory:
        ranker = replace(ranker, arrays=files.copies(ranker.arrays))
    return Release(
        folder=folder,
        manifest=manifest,
        users=IdIndex.load(folder / "users"),
        items=ItemCatalogue.load(folder / "items"),
        histories=histories,
        popularity=Popularity.load(folder / "popularity"),
        members=tuple(members),
        correction=None if correction is None else LoadedCorrection.load(folder / "blend", correction),
        ranker=ranker,
        attributes=None if encoder is None else AttributeMap.load(folder, encoder),
    )


def _require_fit(release: Release) -> None:
    """InputError where an array is of another size than the manifest says, or points outside."""
    users, items = release.manifest.dataset.users, release.manifest.dataset.items
    sizes = {
        "users": (len(release.users), users),
        "histories": (len(release.histories), users),
        "items": (len(release.items), items),
        "titles": (len(release.items.titles), items),
        "item vectors": (len(release.items.vectors), items),
        "genres": (len(release.items.member_of), items),
        "popularity": (len(release.popularity.counts), items),
        "ranker": (release.ranker.item_count, items),
    }
    for name, (size, expected) in sizes.items():
        if size != expected:
            raise InputError(f"{release.folder}: {name} has {size} rows, the manifest says {expected}")
    attributes = release.attributes
    if attributes is not None and attributes.coefficients.shape != (1 + attributes.encoder.width, items):
        raise InputError(
            f"{release.folder}: the map from features has shape {attributes.coefficients.shape}, its encoder "
            f"and the items say {(1 + attributes.encoder.width, items)}"
        )
    ends = release.histories.ends
    rated = release.histories.items
    if ends[0] != 0 or ends[-1] != len(rated) or np.any(np.diff(ends) < 0):
        raise InputError(f"{release.folder}: the histories' ends do not fit their {len(rated)} ratings")
    if len(rated) and not (rated.min() >= 0 and rated.max() < items):
        raise InputError(f"{release.folder}: histories name items {rated.min()} .. {rated.max()} of {items}")
