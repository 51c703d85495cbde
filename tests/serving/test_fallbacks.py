from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.running import Running, running
from tests.waiting import wait_for


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"a": releases["a"]}) as entry:
        yield entry


def fallbacks(made: Running) -> dict[str, float]:
    families = text_string_to_metric_families(made.client.get("/metrics").text)
    samples = next(family for family in families if family.name == "recsys_fallbacks").samples
    return {sample.labels["stage"]: sample.value for sample in samples if sample.name.endswith("_total")}


class Broken:
    """A ranker whose arrays have gone bad: raises for the users it knows, or for everybody."""

    def __init__(self, ranker: Any, *, strangers_too: bool) -> None:
        self._ranker = ranker
        self._strangers_too = strangers_too

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ranker, name)

    def scores(self, histories: Any, *, users: Any, out: Any) -> Any:
        self._check(users)
        return self._ranker.scores(histories, users=users, out=out)

    def user_factors(self, histories: Any, users: Any) -> Any:
        self._check(users)
        return self._ranker.user_factors(histories, users)

    def _check(self, users: Any) -> None:
        if self._strangers_too or any(user is not None for user in users):
            raise FloatingPointError("the factors hold NaN")


@pytest.mark.parametrize(("strangers_too", "source"), [(False, "folded_in"), (True, "popular")])
def test_personal_falls_back_to_folded_in_and_then_to_popular(
    made: Running, strangers_too: bool, source: str
) -> None:
    recommender = made.service.deployment.control.recommender
    retriever = recommender.retriever
    retriever.ranker = Broken(retriever.ranker, strangers_too=strangers_too)
    answer = made.list("u3")
    assert (answer["source"], len(answer["items"])) == (source, 10)
    assert "the factors hold NaN" in answer["fallback"]
    assert fallbacks(made) == {source: 1.0}
    release = made.service.deployment.control.release
    seen = {str(release.items.ids.names[row]) for row in release.histories(3).items}
    assert not seen & {item["id"] for item in answer["items"]}


@contextlib.contextmanager
def hanging(made: Running) -> Iterator[None]:
    """The recommender's thread hangs, as any other work of a release could make it, until the block ends.
    Lists have 150 ms meanwhile; before and after they are never late."""
    began, ended = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        ended.wait(120)

    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(asyncio.run, made.service.batcher.call(hang, seconds=60))
        try:
            assert began.wait(120)
            with patch.multiple(made.service.computation, _deadline_ms=150, _deadline=0.15):
                yield
        finally:
            ended.set()
            stuck.result()


def test_a_slow_stage_is_not_waited_for(made: Running) -> None:
    """While the recommender hangs everybody has an answer."""
    with hanging(made), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(made.list, [f"u{n}" for n in range(8)]))
    assert {answer["source"] for answer in answers} == {"popular"}
    assert all("150 ms" in answer["fallback"] or "busy" in answer["fallback"] for answer in answers)
    assert fallbacks(made) == {"popular": 8.0}


def test_who_is_late_gets_the_last_list_without_what_was_rated_since(made: Running) -> None:
    """Better than popular items: marked, counted, and only for who had one."""
    before = [item["id"] for item in made.list("u3")["items"]]
    made.rate("u3", before[2], 1, "late")
    made.rate("u4", before[2], 1, "nothing-known")
    with hanging(made), ThreadPoolExecutor(2) as pool:
        answer, other = pool.map(made.list, ["u3", "u4"])
    assert answer["source"] == "personal"
    assert answer["fallback"].startswith("busy: the list from before")
    assert [item["id"] for item in answer["items"]] == [*before[:2], *before[3:]]
    assert other["source"] == "popular"
    assert fallbacks(made) == {"personal": 1.0, "popular": 1.0}
    assert made.list("u3")["fallback"] is None


def test_a_hung_recommender_makes_the_replica_unhealthy(
    made: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine.service.STUCK_SECONDS", 0.1)
    with hanging(made):
        wait_for(lambda: made.client.get("/healthz").status_code == 503)
        assert "busy" in made.client.get("/healthz").json()["status"]
        assert made.client.get("/readyz").status_code == 503
    wait_for(lambda: made.client.get("/healthz").json() == {"status": "ok"})
