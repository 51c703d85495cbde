"""A played account for the tests of this folder; each has a state folder of its own. A plan is read once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters.cli import plan_workload
from tests.clusters.failures import prove
from tests.clusters.played.playing import Play, playing
from tests.clusters.played.stage import Stage


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "failure(what, injected, seen): a row of tests/clusters/failures.py")


read_plan_once = functools.cache(plan_workload)  # a process that imports the whole search, for each plan


@pytest.fixture(autouse=True)
def plans_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """``quote --plan`` reads a plan in a process of its own: the first time, for all tests of a worker."""
    monkeypatch.setattr("clusters.cli.plan_workload", read_plan_once)


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


@pytest.fixture(autouse=True)
def failure_row(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test of a failure: what its user saw, what is left, and what it cost."""
    marker = request.node.get_closest_marker("failure")
    if marker is None:
        yield
        return
    world: Play | Stage = request.getfixturevalue("stage" if "stage" in request.fixturenames else "play")
    yield
    given = getattr(request.node, "callspec", None)
    words = {name: str(value) for name, value in given.params.items()} if given else {}
    texts = [text.format_map(words) for text in (*marker.args, marker.kwargs["seen"])]
    if isinstance(world, Play):
        world.cloud.faults.clear()
    prove(world, texts[0], texts[1], seen=texts[2])
