"""An empty event store, and a small data set to merge it with."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data.dataset import Dataset
from serving.events.store import EventStore
from tests.releases import make_dataset


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    made = EventStore(str(tmp_path / "events.db"))
    made.create_tables()
    return made


@pytest.fixture
def base() -> Dataset:
    return make_dataset()
