"""Popular and trending items move with the ratings that come in, each person's newest rating once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recsys.release.arrays import TRENDING_HALF_LIFE_DAYS
from serving.engine.live_popularity import LivePopularity
from serving.events.retention import erase
from tests.serving.running import Running, running

DAY = 86_400.0


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path) -> Iterator[Running]:
    overrides = {"experiment": {"overrides": {"tester": "a"}}}
    with running(tmp_path, {"a": releases["a"]}, **overrides) as entry:
        yield entry


def counted(made: Running) -> LivePopularity:
    made.service.store_sync.catch_up()
    made.service.refresh_popularity()
    assert made.service.popularity is not None
    return made.service.popularity


def test_counts_and_decayed_counts_are_those_of_all_ratings(made: Running) -> None:
    loaded = made.service.deployment.control
    popularity, newest = loaded.release.popularity, loaded.release.manifest.dataset.last_timestamp
    assert newest is not None
    half_life = TRENDING_HALF_LIFE_DAYS * DAY
    made.rate("new 1", "i9", 4.0, "e1", at=newest + half_life)
    made.rate("new 2", "i9", 2.0, "e2", at=newest + 2 * half_life)
    made.rate("new 2", "i9", 3.0, "e3", at=newest + 3 * half_life)  # again: once, at the newer time
    made.rate("tester", "i9", 3.0, "e4", at=newest + half_life)
    made.rate("new 1", "added", 3.0, "e5")
    user = next(user for user in range(59) if loaded.rows.item("i9") in loaded.release.histories(user).items)
    made.rate(f"u{user}", "i9", 1.0, "e6", at=newest + half_life)  # the release counts this pair already
    live, row = counted(made), loaded.rows.item("i9")
    assert row is not None
    change = live.counts - popularity.counts
    assert change.tolist() == [2.0 if other == row else 0.0 for other in range(40)]
    assert live.trending[row] == pytest.approx(float(popularity.trending[row]) + 2 + 8 + 2)
    others = np.delete(live.trending, row)
    assert others == pytest.approx(np.delete(np.asarray(popularity.trending, dtype=float), row))
    erase(made.service.store, "new 2")
    again = counted(made)
    assert again.counts[row] == popularity.counts[row] + 1
    assert again.trending[row] == pytest.approx(float(popularity.trending[row]) + 2 + 2)


def test_the_routes_follow(made: Running, releases: dict[str, Path], tmp_path: Path) -> None:
    def first(**query: str) -> str:
        result: str = made.client.get("/v1/popular?count=1", params=query).json()["items"][0]["id"]
        return result

    before = first()
    rare = "i39" if before != "i39" else "i38"
    made.rate("somebody", rare, 5.0, "t1")  # years after the release's ratings
    counted(made)
    assert first(trending="true") == rare
    assert first() == before
    for person in range(60):
        made.rate(f"p{person}", rare, 5.0, f"p{person}")
    counted(made)
    assert first() == rare
    with running(tmp_path, {"b": releases["b"]}) as again:  # another replica, another release
        shown = again.client.get("/v1/popular?count=1").json()["items"]
        assert shown[0]["id"] == rare
