"""Open a release: every hash checked, everything mapped, its golden lists computed again.

Refuses, in one line, a folder that is no release, is unfinished, was changed after it was made, or has
a schema that this version cannot read. A release is the only thing that search hands to serving.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from recsys.errors import InputError
from recsys.models.artifact import load_artifact
from recsys.models.base import Scorer
from recsys.models.registry import FAMILIES
from recsys.ranking.ranker import Ranker
from recsys.release import files
from recsys.release.arrays import Histories, IdIndex, ItemCatalogue, LoadedCorrection, Popularity
from recsys.release.manifest import READ_VERSIONS, SCHEMA_VERSION, Manifest
from recsys.types import Arrays, JsonObject


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

    @property
    def release_id(self) -> str:
        return self.manifest.release_id

    def profile(self) -> tuple[JsonObject, Arrays] | None:
        """The reference profile for drift, as ``recsys.release.profile.unpack`` takes it."""
        card = self.manifest.reference_profile
        if card is None:
            return None
        return card.summary, {name: files.map_array(self.folder / path) for name, path in card.arrays.items()}


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, its own id checked. Raises InputError where it cannot be trusted."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is no release: there is no manifest.json in it. `python search/breakthrough.py` makes "
            "one under runs/NAME/release"
        )
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}): copy the release again, whole") from None
    version = text.get("schema_version") if isinstance(text, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema_version {version}, this version reads up to {SCHEMA_VERSION}: update this "
            "installation, or make the release again with it"
        )
    if version not in READ_VERSIONS:
        raise InputError(
            f"{path} has schema_version {version!r}, expected one of {', '.join(map(str, READ_VERSIONS))}: "
            "make the release again"
        )
    if text.get("complete") is not True:
        raise InputError(f"{folder} is unfinished: whatever made it stopped before the end; make it again")
    try:
        manifest = Manifest.model_validate(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} does not fit the schema at {where}: {first['msg']}") from None
    if manifest.computed_id() != manifest.release_id:
        raise InputError(
            f"{path} was changed after the release was made: its release_id does not fit what it says; copy "
            "the release again or make a new one"
        )
    return manifest


def load_release(folder: Path | str, *, verify: bool = True) -> Release:
    """A checked and mapped release. ``verify`` off skips the hashes and golden lists (the caller has
    just done both). Raises InputError naming the first thing that is wrong."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    files.check(folder, manifest.files, hashes=verify)
    release = _mmap_release(folder, manifest)
    if verify:
        from recsys.release.golden_check import check_golden  # golden needs a Recommender, and that a Release

        check_golden(release)
    return release


def _mmap_release(folder: Path, manifest: Manifest) -> Release:
    """The release as mapped, nothing checked but that its families are known."""
    histories = Histories.load(folder / "histories")
    members = []
    for card in manifest.members:
        if card.family not in FAMILIES:
            raise InputError(
                f"{folder} has a member of family {card.family!r}, which this version does not know; it has "
                f"{', '.join(sorted(FAMILIES))}"
            )
        packed = load_artifact(folder / "members" / card.name)
        members.append(LoadedMember(card.name, card.weight, FAMILIES[card.family].scorer(packed, histories)))
    correction = manifest.rating_blend.correction
    return Release(
        folder=folder,
        manifest=manifest,
        users=IdIndex.load(folder / "users"),
        items=ItemCatalogue.load(folder / "items"),
        histories=histories,
        popularity=Popularity.load(folder / "popularity"),
        members=tuple(members),
        correction=None if correction is None else LoadedCorrection.load(folder / "blend", correction),
        ranker=Ranker.open(folder / "ranker"),
    )
