"""Lists that one replica has computed are answered by the others: the same lists, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.models.base import History
from recsys.release.queries import Query, RecommendationList
from serving.catalogue.rule_set import RuleSet
from serving.engine.served_release import ServedRelease
from serving.engine.service import SHARED_LISTS
from serving.engine.shared_lists import MOST_ITEMS, SharedLists, list_digest
from serving.events.retention import erase
from tests.serving.running import running
from tests.serving.test_cached_lists import content
from tests.waiting import wait_for

RATED = History(np.array([3, 8], dtype=np.int32), np.array([5.0, 1.0], dtype=np.float32))


@pytest.fixture(scope="module")
def loaded(releases: dict[str, Path]) -> ServedRelease:
    return ServedRelease("a", releases["a"], RuleSet())


def computed(loaded: ServedRelease, query: Query) -> RecommendationList:
    return loaded.recommender.recommend([query], loaded.rules)[0]


def test_two_replicas_compute_a_changed_users_list_once(releases: dict[str, Path], tmp_path: Path) -> None:
    arms = {"a": releases["a"]}
    with running(tmp_path, arms) as first, running(tmp_path, arms) as second:
        for number, item in enumerate(("i11", "i12")):
            first.rate("u2", item, 5.0, f"e{number}")
            wait_for(lambda item=item: item in second.service.recent_ratings.of("u2"))
            expected, batched = first.list("u2"), second.service.batcher.batched
            assert expected["source"] == "folded_in"
            assert content(second.list("u2")) == content(expected)
            assert content(second.list("u2")) == content(expected)
            assert second.service.batcher.batched == batched
        file = second.service.settings.spool_folder / SHARED_LISTS
        assert file.stat().st_size > 0
        erase(first.service.store, "u2")
        wait_for(lambda: not second.service.recent_ratings.of("u2"))
        wait_for(lambda: file.stat().st_size == 0)


def test_a_list_is_found_by_exactly_what_made_it(loaded: ServedRelease, tmp_path: Path) -> None:
    ours, theirs = SharedLists(tmp_path / "lists"), SharedLists(tmp_path / "lists")
    query = Query(5, RATED, count=7)
    answer = computed(loaded, query)
    ours.put(loaded, query, answer)
    result = theirs.get(loaded, query)
    assert result is not None
    assert (result.recommendations, result.source) == (answer.recommendations, "folded_in")
    hidden = ServedRelease("a", loaded.folder, RuleSet(frozenset({"i0"})), verify=False)
    for release, other in (
        (loaded, replace(query, user=6)),
        (loaded, replace(query, user=None)),
        (loaded, replace(query, count=8)),
        (loaded, replace(query, history=History(RATED.items, RATED.values[::-1]))),
        (loaded, replace(query, history=History(RATED.items[:1], RATED.values[:1]))),
        (hidden, query),
    ):
        assert list_digest(release, other) != list_digest(loaded, query)
        assert theirs.get(release, other) is None
    theirs.clear()
    assert ours.get(loaded, query) is None


def test_what_is_not_whole_is_no_list(loaded: ServedRelease, tmp_path: Path) -> None:
    path = tmp_path / "lists"
    lists = SharedLists(path)
    query = Query(5, RATED, count=3)
    lists.put(loaded, query, computed(loaded, query))
    written = path.read_bytes()
    begin = len(written) - len(written.lstrip(b"\0"))
    for at in range(begin, len(written)):
        path.write_bytes(written[:at] + bytes([written[at] ^ 0x41]) + written[at + 1 :])
        assert lists.get(loaded, query) is None, at
        path.write_bytes(written[:at])
        assert lists.get(loaded, query) is None, at
    path.write_bytes(written)
    assert lists.get(loaded, query) is not None


def test_lists_that_stand_in_for_others_or_are_too_long_stay_here(
    loaded: ServedRelease, tmp_path: Path
) -> None:
    lists = SharedLists(tmp_path / "lists")
    query = Query(5, RATED, count=3)
    lists.put(loaded, query, loaded.popular_list(query, "too late"))
    lists.put(loaded, query, replace(computed(loaded, query), fallback="folded_in: ValueError"))
    assert lists.get(loaded, query) is None
    longer = replace(query, count=MOST_ITEMS + 1)
    lists.put(loaded, longer, computed(loaded, longer))
    assert lists.get(loaded, longer) is None
    assert (tmp_path / "lists").stat().st_size == 0


def test_without_a_file_lists_are_not_shared(
    loaded: ServedRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(5, RATED, count=3)
    nowhere = SharedLists(tmp_path / "no folder" / "lists")
    nowhere.put(loaded, query, computed(loaded, query))
    assert nowhere.get(loaded, query) is None
    full = SharedLists(Path("/dev/full"))
    full.put(loaded, query, computed(loaded, query))
    assert full.get(loaded, query) is None
