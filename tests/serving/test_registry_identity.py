"""``models:/`` serves the release that was registered, or refuses: never another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from recsys.errors import InputError
from recsys.release.load import read_manifest
from serving.release_registry import resolve
from tests.empty_mlflow import place_empty_mlflow


def register(
    home: Path, release: Path, monkeypatch: pytest.MonkeyPatch, *, release_id: str | None = None
) -> None:
    """A registry of its own in ``home`` with ``release`` as movies@champion, version 1."""
    home.mkdir(parents=True, exist_ok=True)
    uri = place_empty_mlflow(home / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    client.create_registered_model("movies")
    tags = {"release_id": release_id or read_manifest(release).release_id}
    client.create_model_version("movies", release.resolve().as_uri(), tags=tags)
    client.set_registered_model_alias("movies", "champion", "1")


def test_two_registries_of_the_same_names_serve_their_own(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("a", "b"):
        register(tmp_path / name, releases[name], monkeypatch)
        folder = resolve("models:/movies@champion")
        assert read_manifest(folder).release_id == read_manifest(releases[name]).release_id


def test_a_folder_that_was_replaced_after_it_was_registered_is_refused(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    index = tmp_path / "run" / "release"
    shutil.copytree(releases["a"], index)
    register(tmp_path / "store", index, monkeypatch)
    shutil.rmtree(index)
    shutil.copytree(releases["b"], index)
    with pytest.raises(InputError, match="was replaced after it was registered"):
        resolve("models:/movies@champion")


def test_an_id_that_is_a_path_is_refused(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    register(tmp_path / "store", releases["a"], monkeypatch, release_id="../../elsewhere")
    with pytest.raises(InputError, match="expected a hash"):
        resolve("models:/movies/1")
