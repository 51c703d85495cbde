"""A played account for the tests of this folder; each has a state folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.played.playing import Play, playing
from tests.clusters.played.stage import Stage


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A played RunPod with stand-in pods, and the environment of somebody who has its key."""
    with playing(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A played RunPod with real pods (system tests only: it needs root)."""
    made = Stage(tmp_path)
    try:
        with made.api:
            yield made
    finally:
        made.close()
