from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.releases import make_release
from tests.serving.running import ADMIN, Running, running


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small releases of the same people and films."""
    folder = tmp_path_factory.mktemp("releases")
    return {
        "a": make_release(folder / "a", seed=3),
        "b": make_release(folder / "b", seed=3, rating_weight=0.7),
    }


@pytest.fixture(scope="session")
def shared(releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for tests that do not change it for others: arms a and b, half and half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_ADMIN_TOKEN", ADMIN)
        with running(tmp_path_factory.mktemp("shared"), releases) as made:
            yield made


@pytest.fixture
def admin_token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RECSYS_ADMIN_TOKEN", ADMIN)
    return ADMIN
