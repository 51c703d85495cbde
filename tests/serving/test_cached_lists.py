"""Lists that are looked up are the lists that would be computed; precomputed ones too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recsys.errors import InputError
from recsys.release.queries import Query
from serving.__main__ import main
from serving.catalogue.rule_set import RuleSet
from serving.engine import list_precomputation as making
from serving.engine.list_precomputation import lists_folder, precompute
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import LENGTH, open_lists
from tests.serving.running import Running, running
from tests.waiting import wait_for

USERS = [f"u{row}" for row in range(60)]
RULES = {"hidden": ["i0", "i7"], "boosts": {"i5": 0.5}, "diversity": 0.3}


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"a": releases["a"]}) as entry:
        yield entry


def content(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "exposure_id"}


def test_a_known_list_is_looked_up_and_the_same(made: Running) -> None:
    batcher = made.service.batcher
    for user in (*USERS[:20], "nobody"):
        first, computed = made.list(user), batcher.batched
        again = made.list(user)
        assert batcher.batched == computed
        assert content(again) == content(first)
        assert list(again) == list(first)
        assert again["exposure_id"] != first["exposure_id"]
    made.list("somebody else")  # all strangers have one list
    assert batcher.batched == computed
    stored = made.service.store

    def exposures() -> dict[str, Any]:
        return {row.exposure_id: row for row in stored.exposures(user_id="u1")}

    wait_for(lambda: len(exposures()) == 2)
    first, again = exposures().values()
    assert (first.items, first.predicted, first.source) == (again.items, again.predicted, again.source)


def test_filters_sessions_and_explanations_are_computed(made: Running) -> None:
    made.list("u1")
    batcher = made.service.batcher
    for more in (
        {"exclude": "i1"},
        {"genres": "Drama"},
        {"include_seen": True},
        {"explain": True},
        {"count": 9},
    ):
        before = batcher.batched
        made.list("u1", **more)
        assert batcher.batched == before + 1, more
    before = batcher.batched
    body = {"user_id": "u1", "ratings": [{"item_id": "i3", "rating": 4}]}
    made.client.post("/v1/recommendations", json=body)
    assert batcher.batched == before + 1


def test_a_changed_user_is_computed_once_for_each_change(made: Running) -> None:
    batcher = made.service.batcher
    made.list("u2")
    for number, item in enumerate(("i11", "i12")):
        made.rate("u2", item, 5.0, f"e{number}")
        before = batcher.batched
        changed = made.list("u2")
        assert changed["source"] == "folded_in"
        assert item not in [shown["id"] for shown in changed["items"]]
        assert content(made.list("u2")) == content(changed)
        assert batcher.batched == before + 1


def test_an_overloaded_replica_gives_the_last_list_marked(made: Running) -> None:
    first = made.list("u3")
    rated = first["items"][0]["id"]
    made.rate("u3", rated, 1.0, "e1")
    admission = made.service.computation.admission
    admission.in_flight += 8
    try:
        answer = made.list("u3")
        assert answer["fallback"].startswith("busy:")
        assert [item["id"] for item in answer["items"]] == [item["id"] for item in first["items"][1:]]
        assert made.client.get("/v1/users/u4/recommendations").status_code == 503  # nothing is known
    finally:
        admission.in_flight -= 8
    assert made.list("u3")["fallback"] is None


def test_precomputed_lists_are_those_that_would_be_computed(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under rules, cut short once and gone on with; the server then computes nothing for known users."""
    rules = RuleSet(frozenset(RULES["hidden"]), dict(RULES["boosts"]), RULES["diversity"])  # type: ignore[call-overload]
    monkeypatch.setattr(making, "BATCH", 7)
    monkeypatch.setattr(making, "FLUSH_BATCHES", 2)
    loaded = ServedRelease("a", releases["a"], rules)
    folder = lists_folder(tmp_path / "events.db.lists", loaded.release_id, rules)

    def stop(done: int, total: int) -> None:
        if done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(loaded, folder, progress=stop)
    assert open_lists(folder, 60) is None
    seen: list[int] = []
    stored = precompute(loaded, folder, progress=lambda done, total: seen.append(done))
    assert seen[0] == 35  # what two flushes had stored stays
    for user in range(60):
        expected = loaded.recommender.recommend([Query(user=user, count=LENGTH)], loaded.rules)[0]
        kept = stored.get(user, LENGTH)
        assert [item.item for item in kept.recommendations] == [
            item.item for item in expected.recommendations
        ]
        assert kept.source == expected.source
    with running(tmp_path, {"a": releases["a"]}, rules=RULES) as made:
        lists = {user: made.list(user) for user in USERS}
        assert made.service.batcher.batched == 0
    other = tmp_path / "other"
    with running(other, {"a": releases["a"]}, rules=RULES) as made:
        assert {user: content(made.list(user)) for user in USERS} == {
            user: content(answer) for user, answer in lists.items()
        }
        assert made.service.batcher.batched == 60
    assert lists_folder(tmp_path, loaded.release_id, RuleSet()) != folder
    (folder / "scores.npy").write_bytes(b"damaged")
    assert open_lists(folder, 60) is None
    assert open_lists(folder, 61) is None


def test_the_command_writes_every_users_list(
    releases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lists.parquet"
    words = ["precompute", "--release", str(releases["b"]), "--lists", str(tmp_path / "lists")]
    assert main([*words, "--out", str(out), "--count", "5"]) == 0
    assert "60 lists of 100" in capsys.readouterr().out
    rows = pq.read_table(out).to_pylist()
    assert {row["user_id"] for row in rows} == set(USERS)
    with running(tmp_path, {"b": releases["b"]}) as made:
        for user in USERS[:5]:
            items = made.list(user, count=5)["items"]
            mine = [row for row in rows if row["user_id"] == user]
            assert [row["item_id"] for row in mine] == [item["id"] for item in items]
            assert [row["rank"] for row in mine] == [1, 2, 3, 4, 5]
            assert [row["predicted_rating"] for row in mine] == pytest.approx(
                [item["predicted_rating"] for item in items], abs=1e-3
            )
    assert main([*words, "--count", "1000"]) == 2


def test_an_old_release_is_refused_by_its_schema(releases: dict[str, Path], tmp_path: Path) -> None:
    loaded = ServedRelease("a", releases["a"], RuleSet())
    manifest = loaded.release.manifest.model_copy(update={"schema_version": 2})
    loaded.release.__dict__["manifest"] = manifest
    with pytest.raises(InputError, match="schema 2"):
        precompute(loaded, tmp_path / "lists")
    assert not (tmp_path / "lists").exists()
