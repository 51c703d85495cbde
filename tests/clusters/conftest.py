"""A played account for the tests of this folder; each has a state folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.played.playing import Play, playing


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A played RunPod with stand-in pods, and the environment of somebody who has its key."""
    with playing(tmp_path, monkeypatch) as made:
        yield made
