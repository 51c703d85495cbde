"""Stored lists answer what they decide: filters, exploring arms, replicas that ran before they were made."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic_core import to_json

from recsys.release.queries import Query, RecommendationList
from serving.catalogue.rule_set import RuleSet
from serving.engine import background_lists, list_precomputation
from serving.engine.background_lists import LOCKED, BackgroundLists, ListJob
from serving.engine.list_precomputation import LOCK, lists_folder, precompute
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import ARRAYS, READY, TEXT, open_lists
from tests.releases import make_release
from tests.serving.failpoints import killed_at
from tests.serving.running import running
from tests.waiting import wait_for

RULES = RuleSet(frozenset({"i3"}))


def stored(folder: Path, release: Path, rules: RuleSet = RULES) -> ServedRelease:
    loaded = ServedRelease(str(release), release, rules)
    loaded.stored = precompute(loaded, lists_folder(folder, loaded.release_id, rules))
    return loaded


def pairs(answer: RecommendationList) -> list[tuple[int, float, float]]:
    return [(item.item, item.score, item.predicted_rating) for item in answer.recommendations]


@pytest.mark.parametrize("weight", [0.0, 0.2])
def test_filtered_lists_are_those_that_would_be_computed(tmp_path: Path, weight: float) -> None:
    release = make_release(
        tmp_path / "release", users=80, items=300, rating_weight=weight, candidates=100, seed=1
    )
    loaded = stored(tmp_path / "lists", release)
    random = np.random.default_rng(0)
    decided = 0
    for user in range(0, len(loaded.release.users), 2):
        allowed = random.random(300) < random.choice([0.1, 0.5, 0.9])
        exclude = random.choice(300, 30, replace=False).astype(np.int32)
        for query in (
            Query(user, allowed=allowed),
            Query(user, exclude=exclude, count=3),
            Query(user, allowed=allowed, exclude=exclude, count=30),
        ):
            walked = loaded.filtered_list(query)
            if walked is None:
                continue
            decided += 1
            (computed,) = loaded.recommender.recommend([query], loaded.rules)
            assert [item for item, *_ in pairs(walked)] == [item for item, *_ in pairs(computed)]
            assert np.allclose(pairs(walked), pairs(computed), atol=1e-5)
            assert walked.source == computed.source
    assert (
        40 < decided < 120
    )  # of 120; where too little is left, and where an outsider could win, it computes
    assert loaded.filtered_list(Query(0, allowed=np.zeros(300, dtype=np.bool_))) is None
    assert loaded.filtered_list(Query(0, allowed=np.ones(300, dtype=np.bool_), include_seen=True)) is None
    assert loaded.filtered_list(Query(0)) is None


def test_rules_that_weigh_items_against_each_other_are_computed(tmp_path: Path) -> None:
    release = make_release(tmp_path / "release", rating_weight=0.0)
    query = Query(1, exclude=np.array([1], dtype=np.int32), count=3)
    assert stored(tmp_path / "lists", release).filtered_list(query) is not None
    for rules in (RuleSet(boosts={"i5": 0.5}), RuleSet(diversity=0.3)):
        assert stored(tmp_path / "lists", release, rules).filtered_list(query) is None


def test_the_ready_json_is_the_list_as_it_is_answered(tmp_path: Path, releases: dict[str, Path]) -> None:
    loaded = stored(tmp_path, releases["b"])
    assert loaded.stored is not None
    for user in range(60):
        (computed,) = loaded.recommender.recommend([Query(user, count=READY)], loaded.rules)
        assert loaded.stored.items_json(user) == to_json(loaded.listed(computed.recommendations))


def test_a_running_replica_takes_up_lists_made_in_the_background(
    tmp_path: Path, releases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two arms of releases without lists, one exploring: none is computed once the process has made them."""
    monkeypatch.setattr(background_lists, "POLL_SECONDS", 0.05)
    arms = [
        {"name": "a", "release": str(releases["a"]), "share": 0.5},
        {"name": "b", "release": str(releases["b"]), "share": 0.5, "explore": 0.2},
    ]
    with running(tmp_path, releases, experiment={"arms": arms}, lists_cpu=1.0) as made:
        service = made.service
        assert len(service.missing_lists()) == 2
        maker = BackgroundLists(service.missing_lists)
        try:
            wait_for(lambda: not service.missing_lists())
        finally:
            maker.stop()
        before = service.batcher.batched
        lists = [made.list(f"u{row}") for row in range(60)]
        assert service.batcher.batched == before
        assert {answer["arm"] for answer in lists} == {"a", "b"}
        explored = next(answer for answer in lists if answer["arm"] == "b")
        wait_for(lambda: explored["exposure_id"] in {row.exposure_id for row in service.store.exposures()})
        (row,) = [row for row in service.store.exposures() if row.exposure_id == explored["exposure_id"]]
        assert [item["id"] for item in explored["items"]] == list(row.items)
        assert sorted(set(row.propensities))[0] < 0.3 < 0.7 < max(row.propensities)


def test_one_process_makes_a_releases_lists(tmp_path: Path, releases: dict[str, Path]) -> None:
    loaded = ServedRelease("a", releases["a"], RULES)
    folder = lists_folder(tmp_path, loaded.release_id, RULES)

    def second(done: int, total: int) -> None:
        job = ListJob.of(releases["a"], tmp_path, RULES, core_share=1.0)
        assert job.run() == LOCKED
        with pytest.raises(BlockingIOError):
            precompute(loaded, folder)

    precompute(loaded, folder, progress=second)
    assert (folder / LOCK).exists()
    assert ListJob.of(releases["a"], tmp_path, RULES, core_share=1.0).run() == 0
    assert ListJob.of(tmp_path / "none", tmp_path, RULES, core_share=1.0).run() == 1


def test_lists_whose_process_is_killed_go_on_to_the_same_bytes(
    tmp_path: Path, releases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_precomputation, "BATCH", 16)
    monkeypatch.setattr(list_precomputation, "FLUSH_BATCHES", 1)
    loaded = ServedRelease("a", releases["a"], RULES)
    users = len(loaded.release.users)

    def content(folder: Path) -> list[bytes]:
        return [(folder / name).read_bytes() for name in (*(f"{name}.npy" for name in ARRAYS), TEXT)]

    precompute(loaded, tmp_path / "whole")
    marks = math.ceil(users / 16) + 1  # a mark a batch, and one at the end; then the file that says "done"
    for step in range(100):
        folder, done = tmp_path / str(step), list[int]()
        with killed_at(step, monkeypatch) as made:
            precompute(loaded, folder)
        whole = open_lists(folder, users) is not None
        assert whole is (made.count("replace") > marks)
        stored = precompute(loaded, folder, progress=lambda at, _, seen=done: seen.append(at))
        assert stored.items_json(users - 1)
        assert content(folder) == content(tmp_path / "whole")
        kept = 16 * made.count("replace")  # users whose lists were stored before
        assert done[:1] == ([min(kept + 16, users)] if kept < users else []), (step, made)
        if made[-1:] == ["end"]:
            return
    pytest.fail("the lists were never made")


def test_lists_that_cannot_be_stored_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, say: a few tries, one line each, and the replica goes on computing."""
    monkeypatch.setattr(background_lists, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(background_lists, "MAX_FAILURES", 1)
    tries = 0

    def missing() -> list[ListJob]:
        nonlocal tries
        tries += 1
        return [ListJob.of(tmp_path / "none", tmp_path, RULES, core_share=1.0)]

    maker = BackgroundLists(missing)
    wait_for(lambda: tries > 3)
    maker.stop()
    assert sum("cannot be stored" in record.getMessage() for record in caplog.records) == 1
