"""No address from outside, and one SQLite store for every test: making one alone takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.tracking import Tracker


@pytest.fixture(autouse=True)
def no_address_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of runs that has its store."""
    home = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = Tracker.open(home / "first", name="first", params={})
        assert tracker.close(120) == ""
    return home
