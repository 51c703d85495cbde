"""Where a release lies: a folder, or a model version of MLflow's registry (``models:/name@champion``).

A version's artifacts are downloaded once into a cache beside the user's others; MLflow is imported only
for a name that needs it (it takes seconds). MLFLOW_TRACKING_URI says which registry.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError

SCHEME = "models:/"


@dataclass(frozen=True)
class GateVerdict:
    """``promoted`` is None where the gate was never asked; ``model`` and ``version`` are MLflow's."""

    promoted: bool | None
    reason: str
    model: str | None
    version: str | int | None


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "movielens-breakthrough" / "releases"


def resolve(release: str) -> Path:
    """The folder of a release. Raises InputError that says how to make one."""
    if not release.startswith(SCHEME):
        folder = Path(release)
        if not folder.is_dir():
            raise InputError(
                f"there is no release at {release}: make one with `python search/breakthrough.py`, which "
                "leaves it under runs/NAME/release"
            )
        return folder
    version, source = _version(release)
    kept = cache_folder() / version
    if not (kept / "manifest.json").is_file():
        _download(source, kept)
    return kept


def pinned(release: str) -> str:
    """``release`` with an alias replaced by the version that it stands for now, so that every replica
    opens the same one."""
    if not release.startswith(SCHEME):
        return release
    name, number = _version(release)[0].rsplit("-", 1)
    return f"{SCHEME}{name}/{number}"


def gate_verdict(release: str) -> GateVerdict:
    """What the gate said of a release when it was made: from its run's results.json, or from the tags of
    its version in MLflow. Raises InputError where the release cannot be found."""
    if release.startswith(SCHEME):
        from mlflow.tracking import MlflowClient

        name, number = _version(release)[0].rsplit("-", 1)
        tags = MlflowClient().get_model_version(name, number).tags
        said = tags.get("gate.verdict")
        return GateVerdict(
            None if said is None else said == "promoted", tags.get("gate.reason", ""), name, number
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


def crown(release: str) -> str:
    """Give the release's version the alias ``champion``; what was done, in words. Never raises: a
    roll-out that is done stays done when MLflow is away."""
    try:
        verdict = gate_verdict(release)
        if verdict.model is None or verdict.version is None:
            return "the release is not registered in MLflow: no alias was moved"
        from mlflow.tracking import MlflowClient

        MlflowClient().set_registered_model_alias(verdict.model, "champion", str(verdict.version))
        return f"champion is now version {verdict.version} of {verdict.model}"
    except Exception as error:  # MLflow's own errors, a store that is away
        return f"the champion alias could not be moved ({type(error).__name__}): move it by hand"


def _version(release: str) -> tuple[str, str]:
    """("name-number", where its artifacts are)."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    name = release.removeprefix(SCHEME)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise InputError(
            f"{release} cannot be found in MLflow: there is no store at {uri}. `python "
            "search/breakthrough.py` makes one beside its runs; "
            "MLFLOW_TRACKING_URI says where to look"
        )
    try:
        client = MlflowClient()
        if "@" in name:
            found = client.get_model_version_by_alias(*name.split("@", 1))
        elif "/" in name:
            found = client.get_model_version(*name.split("/", 1))
        else:
            raise InputError(f"{release} names no version: write {release}@champion or {release}/1")
        return f"{found.name}-{found.version}", client.get_model_version_download_uri(
            found.name, found.version
        )
    except MlflowException as error:
        where = os.environ.get("MLFLOW_TRACKING_URI", "the default store")
        raise InputError(
            f"{release} cannot be found in MLflow ({where}): {str(error).splitlines()[0]}. `python "
            "search/breakthrough.py` registers a release; MLFLOW_TRACKING_URI says where to look"
        ) from None


def _download(source: str, kept: Path) -> None:
    from mlflow.artifacts import download_artifacts

    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        try:
            got = Path(download_artifacts(artifact_uri=source, dst_path=scratch))
        except Exception as error:
            raise InputError(f"the release at {source} cannot be fetched: {error}") from None
        found = next(iter(sorted(got.rglob("manifest.json"))), None)
        if found is None:
            raise InputError(f"{source} holds no release: there is no manifest.json in it")
        if not kept.exists():
            found.parent.rename(kept)
