"""Explored lists: bounded, repeatable, and with propensities that are the true frequencies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from recsys.release.queries import Recommendation
from serving.engine.exploration import candidate_count, explored
from tests.releases import make_dataset, make_release, without_ratings
from tests.serving.running import running
from tests.waiting import wait_for

RANKED = [Recommendation(item, 1.0 - item / 100, 4.0) for item in range(30)]


def test_propensities_are_the_frequencies_of_what_is_drawn() -> None:
    positions: Counter[tuple[int, int]] = Counter()
    logged: dict[tuple[int, int], float] = {}
    lists = 6_000
    for draw in range(lists):
        shown, propensities = explored(RANKED, 5, share=0.25, exposure_id=f"x{draw}")
        assert len({entry.item for entry in shown}) == 5
        assert sum(entry.item >= 5 for entry in shown) in (1, 2)  # 5 x 0.25 places, up or down
        for index, (entry, propensity) in enumerate(zip(shown, propensities, strict=True)):
            positions[index, entry.item] += 1
            logged[index, entry.item] = propensity
    assert {round(value, 12) for value in logged.values()} == {0.75, 0.01}
    for cell, count in positions.items():
        expected = lists * logged[cell]
        assert abs(count - expected) < 5 * expected**0.5, cell
    assert len(positions) == 5 + 5 * 25


def test_the_same_exposure_id_draws_the_same_list_again() -> None:
    assert explored(RANKED, 10, share=0.2, exposure_id="x") == explored(
        RANKED, 10, share=0.2, exposure_id="x"
    )


@pytest.mark.parametrize(("candidates", "share"), [(RANKED, 0.0), (RANKED[:10], 0.3), (RANKED[:11], 0.2)])
def test_without_exploration_or_without_a_pool_a_list_is_deterministic(
    candidates: list[Recommendation], share: float
) -> None:
    shown, propensities = explored(candidates, 10, share=share, exposure_id="x")
    assert [entry.item for entry in shown] == list(range(10))
    assert propensities == (1.0,) * 10


def test_the_pool_is_bounded() -> None:
    assert [candidate_count(count) for count in (1, 10, 100, 500)] == [3, 30, 300, 500]


def test_a_served_exploring_arm_logs_propensities(
    tmp_path: Path, releases: dict[str, Path], admin_token: str
) -> None:
    with running(tmp_path, {"a": releases["a"]}) as made:
        arm = {"name": "a", "release": str(releases["a"]), "share": 1.0}
        plain = made.list("1", count=5)
        refused = made.change([arm | {"explore": 0.5}])
        assert refused.status_code == 422
        assert "explore" in refused.text
        assert made.change([arm | {"explore": 0.2}]).status_code == 200
        shown = [made.list("1", count=5) for _ in range(8)]
        wait_for(lambda: made.service.writer.waiting == 0)
        rows = {row.exposure_id: row for row in made.service.store.exposures()}
        assert rows[plain["exposure_id"]].propensities == (1.0,) * 5
        usual = [item["id"] for item in plain["items"]]
        for body in shown:
            row = rows[body["exposure_id"]]
            assert list(row.items) == [item["id"] for item in body["items"]]
            drawn = [item not in usual for item in row.items]
            assert sum(drawn) == 1
            assert all(
                (propensity < 0.5) == new for propensity, new in zip(row.propensities, drawn, strict=True)
            )


def test_an_exploring_arm_shows_new_items_marked_within_its_share(tmp_path: Path, admin_token: str) -> None:
    new = {"i30", "i33", "i36", "i39"}
    dataset = without_ratings(make_dataset(), [int(name[1:]) for name in new])
    release = make_release(tmp_path / "release", dataset=dataset, corrected=False)
    with running(tmp_path, {"a": release}) as made:
        plain = made.list("u1", count=5)
        assert not any(item.get("new") for item in plain["items"])  # explore is 0 unless it is set
        arm = {"name": "a", "release": str(release), "share": 1.0, "explore": 0.3}
        assert made.change([arm]).status_code == 200
        lists = [made.list("u1", count=5)["items"] for _ in range(40)]
        shown = [[item["id"] for item in items if item.get("new")] for items in lists]
        assert set().union(*shown) <= new
        assert any(shown)
        assert all(len(ids) <= 2 for ids in shown)  # of five places, 0.3 x 5 up or down
        assert all(item.get("new", False) == (item["id"] in new) for items in lists for item in items)
        predictions = made.client.get("/v1/users/u1/predictions?items=i30,i0").json()["predictions"]
        widths = [entry["interval"][1] - entry["interval"][0] for entry in predictions]
        assert widths[0] > widths[1]
