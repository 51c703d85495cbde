"""An event store with an experiment of two equal arms, both serving one small release."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.domain import ArmSpec, ExperimentState
from serving.events.store import EventStore
from tests.releases import make_release


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "run" / "release", seed=1)


@pytest.fixture
def store(tmp_path: Path, release: Path) -> EventStore:
    made = EventStore(f"sqlite:///{tmp_path / 'events.db'}")
    made.create_tables()
    arms = (ArmSpec("old", str(release), 0.5), ArmSpec("new", str(release), 0.5))
    made.save_experiment(ExperimentState("main", 0, "salt", arms), expected=0, actor="test", at=0.0)
    return made
