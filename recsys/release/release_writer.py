"""Write a release folder atomically.

Everything goes into a sibling folder first; the manifest, ``complete``, is written last, and then the
folder is renamed into its place. A failure before that leaves nothing behind.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from recsys.data.split import SliceName
from recsys.data.user_groups import UserGroups
from recsys.ensemble.rating_intervals import RatingIntervals
from recsys.errors import InputError
from recsys.models.artifact import save_artifact
from recsys.models.base import ModelArtifact
from recsys.ranking.ranker import Ranker
from recsys.release import files
from recsys.release.arrays import Histories, IdIndex, ItemCatalogue, LoadedCorrection, Popularity
from recsys.release.attribute_map import AttributeMap
from recsys.release.golden_check import make_golden
from recsys.release.loaded_release import mmap_release
from recsys.release.manifest import (
    DatasetCard,
    FoldInCard,
    Manifest,
    MemberCard,
    MetricsCard,
    ProfileCard,
    RankingCard,
    RatingBlendCard,
    SplitCard,
)
from recsys.types import Arrays, JsonObject

GOLDEN_LISTS = 5
LIBRARIES = ("movielens-breakthrough", "numpy", "torch")


@dataclass(frozen=True)
class ReleaseMember:
    """One model of the ensemble. ``weight`` is its part in the predicted rating, ``config`` plain JSON."""

    name: str
    packed: ModelArtifact
    config: JsonObject
    parameters: int
    weight: float


@dataclass(frozen=True)
class ReleaseContents:
    """All that a release holds. ``profile`` is ``Profile.pack()``: a summary and arrays."""

    dataset: DatasetCard
    split: SplitCard
    trained_on: Sequence[SliceName]
    users: IdIndex
    items: ItemCatalogue
    histories: Histories
    popularity: Popularity
    members: Sequence[ReleaseMember]
    method: str
    ranker: Ranker
    ranking: RankingCard
    fold_in: FoldInCard
    metrics: MetricsCard
    attributes: AttributeMap | None = None
    correction: LoadedCorrection | None = None
    intervals: RatingIntervals | None = None
    profile: tuple[JsonObject, Arrays] | None = None
    user_groups: UserGroups | None = None


def write_release(folder: Path, contents: ReleaseContents) -> Path:
    """Writes a release folder.

    Args:
        folder: To create.
        contents: Of the release.

    Returns:
        ``folder``.

    Raises:
        InputError: It exists, or the parts do not fit together.
        OSError: A full disk, or no permission.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already: choose another place for the release, or remove it")
    _require_fit(contents)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        profile = _write_arrays(partial, contents)
        manifest = _with_golden(partial, _manifest(partial, contents, profile))
        _write_manifest(partial, manifest)
        for path in partial.rglob("*"):
            _sync(path)
        partial.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _require_fit(contents: ReleaseContents) -> None:
    items = len(contents.items)
    sizes = {
        "popularity": len(contents.popularity.counts),
        "item vectors": len(contents.items.vectors),
        "genres": len(contents.items.member_of),
        "ranker": contents.ranker.item_count,
    }
    for name, size in sizes.items():
        if size != items:
            raise InputError(f"the release's {name} has {size} items, its catalogue {items}")
    if len(contents.histories) != len(contents.users):
        raise InputError(f"{len(contents.histories)} histories for {len(contents.users)} users")
    names = [member.name for member in contents.members]
    if not names or len(set(names)) < len(names):
        raise InputError(f"the release's members are named {names}, expected at least one, each its own name")


def _write_arrays(folder: Path, contents: ReleaseContents) -> ProfileCard | None:
    contents.users.save(folder / "users")
    if contents.user_groups is not None:
        contents.user_groups.save(folder / "users")
    contents.items.save(folder / "items")
    contents.histories.save(folder / "histories")
    contents.popularity.save(folder / "popularity")
    for member in contents.members:
        save_artifact(folder / "members" / member.name, member.packed)
    contents.ranker.save(folder / "ranker")
    if contents.attributes is not None:
        contents.attributes.save(folder)
    if contents.correction is not None:
        contents.correction.save(folder / "blend")
    if contents.profile is None:
        return None
    summary, arrays = contents.profile
    for name, array in arrays.items():
        files.save_array(folder / "profile" / f"{name}.npy", array)
    return ProfileCard(summary=summary, arrays={name: f"profile/{name}.npy" for name in arrays})


def _manifest(folder: Path, contents: ReleaseContents, profile: ProfileCard | None) -> Manifest:
    cards = files.describe(folder)
    members = [
        MemberCard(
            name=member.name,
            family=member.packed.family,
            config=member.config,
            parameters=member.parameters,
            weight=member.weight,
            files=[name for name in cards if name.startswith(f"members/{member.name}/")],
        )
        for member in contents.members
    ]
    return Manifest(
        release_id="",
        complete=True,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        dataset=contents.dataset,
        split=contents.split,
        trained_on=list(contents.trained_on),
        members=members,
        rating_blend=RatingBlendCard(
            method=contents.method,
            weights={member.name: member.weight for member in contents.members},
            correction=None if contents.correction is None else contents.correction.correction,
            intervals=contents.intervals,
        ),
        ranking=contents.ranking,
        fold_in=contents.fold_in,
        item_encoder=None if contents.attributes is None else contents.attributes.encoder,
        reference_profile=profile,
        metrics=contents.metrics,
        golden_lists=[],
        files=cards,
    )


def _with_golden(folder: Path, manifest: Manifest) -> Manifest:
    """With the lists of users from the least to the most active, and the id that closes it."""
    release = mmap_release(folder, manifest)
    lengths = np.diff(release.histories.ends)
    active = np.argsort(lengths, kind="stable")
    active = active[lengths[active] > 0]
    if len(active):
        indices = np.unique(np.linspace(0, len(active) - 1, GOLDEN_LISTS).astype(np.int64))
        manifest = manifest.model_copy(update={"golden_lists": make_golden(release, active[indices])})
    return manifest.model_copy(update={"release_id": manifest.computed_id()})


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
