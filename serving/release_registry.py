"""Location of a release: a folder, or a model version in MLflow's registry (``models:/name@champion``).

A version's artifacts are downloaded once into a cache, under the release id (the hash of its files), which is
verified: registries with equal names and numbers never share an entry. MLflow takes seconds to import and is
imported only for such a name; MLFLOW_TRACKING_URI selects the registry.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError

SCHEME = "models:/"
RELEASE_TAG = "release_id"
RELEASE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # not a path


@dataclass(frozen=True)
class ModelVersion:
    """A version in MLflow; ``source`` is the URI of its artifacts, ``release_id`` its tag or None."""

    name: str
    number: str
    source: str
    release_id: str | None


@dataclass(frozen=True)
class GateVerdict:
    """The promotion gate's verdict; ``promoted`` is None without one. ``model`` and ``version`` are
    MLflow's."""

    promoted: bool | None
    reason: str
    model: str | None
    version: str | int | None


def cache_folder() -> Path:
    """The folder of downloaded releases."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "movielens-breakthrough" / "releases"


def resolve(release: str) -> Path:
    """The folder of a release, downloaded if necessary. Raises InputError where there is none."""
    if not release.startswith(SCHEME):
        folder = Path(release)
        if not folder.is_dir():
            raise InputError(
                f"there is no release at {release}: make one with `python search/breakthrough.py`, which "
                "writes it to runs/NAME/release"
            )
        return folder
    version = _version(release)
    if version.release_id is None:  # registered by hand: the download has the id
        return _download(version)
    if not re.fullmatch(RELEASE_ID, version.release_id):
        raise InputError(f"{release} has the tag {RELEASE_TAG} {version.release_id!r}, expected a hash")
    cached = cache_folder() / version.release_id
    if not (cached / "manifest.json").is_file():
        return _download(version)
    _require_id(cached, version, release)
    return cached


def pinned(release: str) -> str:
    """``release`` with an alias replaced by its current version, so that all replicas open the same one."""
    if not release.startswith(SCHEME):
        return release
    version = _version(release)
    return f"{SCHEME}{version.name}/{version.number}"


def gate_verdict(release: str) -> GateVerdict:
    """The gate's verdict on a release, from its run's results.json or from its version's tags in MLflow.

    Raises InputError where the release cannot be found."""
    if release.startswith(SCHEME):
        from mlflow.tracking import MlflowClient

        version = _version(release)
        name, number = version.name, version.number
        tags = MlflowClient().get_model_version(name, number).tags
        verdict = tags.get("gate.verdict")
        return GateVerdict(
            None if verdict is None else verdict == "promoted", tags.get("gate.reason", ""), name, number
        )
    results = resolve(release).parent / "results.json"
    try:
        promotion = json.loads(results.read_text(encoding="utf-8")).get("promotion") or {}
    except (OSError, json.JSONDecodeError):
        promotion = {}
    return GateVerdict(
        promotion.get("promoted"),
        str(promotion.get("reason") or ""),
        promotion.get("model"),
        promotion.get("version"),
    )


def release_id_of(version: str) -> str | None:
    """The release id of a version as the gate names it ("NAME version 3"); None where MLflow has none."""
    name, _, number = version.rpartition(" version ")
    try:
        return _version(f"{SCHEME}{name}/{number}").release_id
    except Exception:  # MLflow's own errors, a store that is away
        return None


def set_champion(release: str) -> str:
    """Give the release's version the alias ``champion``; returns what was done, as text.

    Never raises: a finished roll-out does not depend on MLflow."""
    try:
        verdict = gate_verdict(release)
        if verdict.model is None or verdict.version is None:
            return "the release is not registered in MLflow: no alias was moved"
        from mlflow.tracking import MlflowClient

        MlflowClient().set_registered_model_alias(verdict.model, "champion", str(verdict.version))
        return f"champion is now version {verdict.version} of {verdict.model}"
    except Exception as error:  # MLflow's own errors, a store that is away
        return f"the champion alias could not be moved ({type(error).__name__}): move it by hand"


def _version(release: str) -> ModelVersion:
    """The version of a name with an alias or a number."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    name = release.removeprefix(SCHEME)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise InputError(
            f"{release} cannot be found in MLflow: there is no store at {uri}. `python "
            "search/breakthrough.py` creates one; MLFLOW_TRACKING_URI selects another"
        )
    try:
        client = MlflowClient()
        if "@" in name:
            stored = client.get_model_version_by_alias(*name.split("@", 1))
        elif "/" in name:
            stored = client.get_model_version(*name.split("/", 1))
        else:
            raise InputError(f"{release} names no version: write {release}@champion or {release}/1")
        source = client.get_model_version_download_uri(stored.name, stored.version)
        return ModelVersion(stored.name, str(stored.version), source, stored.tags.get(RELEASE_TAG))
    except MlflowException as error:
        where = os.environ.get("MLFLOW_TRACKING_URI", "the default store")
        raise InputError(
            f"{release} cannot be found in MLflow ({where}): {str(error).splitlines()[0]}. `python "
            "search/breakthrough.py` registers releases; MLFLOW_TRACKING_URI selects the store"
        ) from None


def _release_id(folder: Path) -> str:
    """The release id in a manifest. Raises InputError without one."""
    try:
        release_id = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("release_id")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{folder}/manifest.json cannot be read ({type(error).__name__})") from None
    if not isinstance(release_id, str) or not re.fullmatch(RELEASE_ID, release_id):
        raise InputError(f"{folder}/manifest.json has the release_id {release_id!r}, expected a hash")
    return release_id


def _require_id(folder: Path, version: ModelVersion, release: str) -> None:
    """Raises InputError where ``folder`` has another release than the version's tag."""
    release_id = _release_id(folder)
    if version.release_id is not None and release_id != version.release_id:
        raise InputError(
            f"{release} is release {version.release_id}, but {version.source} holds {release_id}: its "
            "folder was replaced after it was registered. Register the new release as a version of its own, "
            "or serve its folder"
        )


def _download(version: ModelVersion) -> Path:
    """Download a version's release, verify it by its tag, and cache it under its id."""
    from mlflow.artifacts import download_artifacts

    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as scratch:
        try:
            downloaded = Path(download_artifacts(artifact_uri=version.source, dst_path=scratch))
        except Exception as error:
            raise InputError(f"the release at {version.source} cannot be downloaded: {error}") from None
        manifest = next(iter(sorted(downloaded.rglob("manifest.json"))), None)
        if manifest is None:
            raise InputError(f"{version.source} is not a release: it has no manifest.json")
        _require_id(manifest.parent, version, f"{SCHEME}{version.name}/{version.number}")
        cached = cache / _release_id(manifest.parent)
        if not cached.exists():
            # A copy, since MLflow returns the original folder of a local store.
            complete = Path(scratch) / ".whole"
            shutil.copytree(manifest.parent, complete)
            with contextlib.suppress(OSError):  # another process cached it meanwhile
                complete.rename(cached)
        return cached
