"""One small release for all tests of this folder; nobody changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recsys.release.load import load_release
from recsys.release.loaded_release import Release
from recsys.release.recommender import Recommender
from tests.releases import make_release


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "release")


@pytest.fixture(scope="session")
def release(folder: Path) -> Release:
    return load_release(folder)


@pytest.fixture(scope="session")
def recommender(release: Release) -> Recommender:
    return Recommender(release)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))
