"""Items added at run time are in exploring lists of the release that is served, by their features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.release.load import load_release
from tests.releases import make_dataset, make_release, with_features
from tests.serving.running import AS_ADMIN, Running, running
from tests.waiting import wait_for

CELLS = {
    "price": [float(row) for row in range(40)],
    "language": ["en", "fr"] * 20,
    "plot": [(0.1 * row, 1.0 - row, 0.5) for row in range(40)],
    "premiere": [f"{1990 + row % 20}-05-01" for row in range(40)],
}
FILM = {"title": "A New Film (1999)", "genres": ["Drama"], "features": {"price": 3, "language": "fr"}}


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = with_features(make_dataset(seed=3), CELLS)
    return make_release(tmp_path_factory.mktemp("featured") / "release", dataset=dataset)


def exploring(release: Path, explore: float = 0.3) -> dict[str, Any]:
    return {"arms": [{"name": "a", "release": str(release), "share": 1.0, "explore": explore}]}


def shown(made: Running, user: str, **query: Any) -> list[dict[str, Any]]:
    """The added items in 30 lists of ten for ``user``, each with at most 0.3 of its places for them."""
    lists = [made.list(user, count=10, **query)["items"] for _ in range(30)]
    assert all(sum(item["id"].startswith("n") for item in listed) <= 3 for listed in lists)
    return [item for listed in lists for item in listed if item["id"].startswith("n")]


def put(made: Running, item: str, **body: Any) -> dict[str, Any]:
    answer = made.client.put(f"/v1/items/{item}", json=FILM | body, headers=AS_ADMIN)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_an_added_item_is_listed_as_new_by_all_replicas_and_after_a_restart(
    featured: Path, tmp_path: Path, admin_token: str
) -> None:
    experiment = exploring(featured)
    with (
        running(tmp_path, {"a": featured}, experiment=experiment) as made,
        running(tmp_path, {"a": featured}, experiment=experiment) as other,
    ):
        assert shown(made, "u1") == []
        added = put(made, "n1")
        assert (added["listed"], added["reason"], added["new"]) == (True, None, True)
        wait_for(lambda: other.client.get("/v1/items/n1").is_success)
        for replica in (made, other):
            for user in ("u1", "nobody"):
                result: list[dict[str, Any]] = []
                wait_for(lambda r=replica, u=user, f=result: f.extend(shown(r, u)) or len(f) > 0)
                assert {(item["title"], item.get("new")) for item in result} == {(FILM["title"], True)}
                assert all(1 <= item["predicted_rating"] <= 5 for item in result)
        assert shown(made, "u1", genres="Comedy") == []
        assert shown(made, "u1", where="price > 3") == []
        assert shown(made, "u1", exclude="n1") == []
        assert len(shown(made, "u1", where="price = 3")) > 0
        made.rate("u1", "n1", 5.0, "e1")
        assert shown(made, "u1") == []  # rated
        assert made.client.delete("/v1/items/n1", headers=AS_ADMIN).status_code == 200
        assert shown(made, "nobody") == []
        assert put(made, "n1", available_from="2090-01-01")["reason"] == "it is not available now"
        assert shown(made, "nobody") == []
        put(made, "n1")
    with running(tmp_path, {"a": featured}, experiment=experiment) as made:
        assert len(shown(made, "nobody", where="price = 3")) > 0
        wait_for(lambda: len(shown(made, "nobody")) > 0)


def test_what_cannot_be_listed_says_why(
    featured: Path, releases: dict[str, Path], tmp_path: Path, admin_token: str
) -> None:
    with running(tmp_path, {"a": featured}) as made:
        assert "`explore`" in put(made, "n1")["reason"]
        assert shown(made, "u1") == []
    (tmp_path / "old").mkdir()
    with running(tmp_path / "old", {"a": releases["a"]}, experiment=exploring(releases["a"])) as made:
        assert "cannot score items by features" in put(made, "n1")["reason"]
        assert shown(made, "u1") == []
        put(made, "n2", features={"price": "cheap"})  # this release asks for nothing of a price
        arms = exploring(featured)["arms"]
        answer = made.change([arms[0] | {"name": "a"}])
        assert answer.status_code == 200, answer.text
        wait_for(lambda: made.client.get("/v1/items/n1").json()["listed"])
        result = made.client.get("/v1/items/n2").json()
        assert (result["listed"], "expected a number" in result["reason"]) == (False, True)
        assert {item["id"] for item in shown(made, "nobody", where="price")} == {"n1"}


def test_an_added_item_has_similar_items_and_predictions_or_says_why_not(
    featured: Path, releases: dict[str, Path], tmp_path: Path, admin_token: str
) -> None:
    with running(tmp_path, {"a": featured}) as made:
        assert made.client.get("/v1/items/n1/similar").status_code == 404
        released = made.client.get("/v1/items/i3").json()
        twin = {"title": released["title"], "genres": released["genres"]}
        put(made, "n1", **twin, features={name: values[3] for name, values in CELLS.items()})
        result = made.client.get("/v1/items/n1/similar", params={"count": 5}).json()["items"]
        assert len(result) == 5
        assert all(item["id"].startswith("i") for item in result)
        assert [item["score"] for item in result] == sorted((item["score"] for item in result), reverse=True)
        query = {"item_id": "n1", "where": "genre in (Drama)", "count": 3}
        dramas = made.client.get("/v1/similar", params=query).json()["items"]
        assert [item["genres"].count("Drama") for item in dramas] == [1, 1, 1]
        answer = made.client.get("/v1/users/u1/predictions", params={"items": "i3,n1,i4"}).json()[
            "predictions"
        ]
        assert [row["id"] for row in answer] == ["i3", "n1", "i4"]
        assert 1 <= answer[1]["predicted_rating"] <= 5
        values = load_release(featured).histories.values.astype(np.float64)
        usual = np.quantile(values, [0.1, 0.9])  # of any item, by anybody
        low, high = answer[1]["interval"]
        assert low == pytest.approx(min(usual[0], answer[1]["predicted_rating"]), abs=1e-3)
        assert high == pytest.approx(max(usual[1], answer[1]["predicted_rating"]), abs=1e-3)
        alone = made.client.get("/v1/users/u1/predictions", params={"items": "i3,i4"}).json()["predictions"]
        assert alone == [answer[0], answer[2]]
        only = made.client.get("/v1/users/nobody/predictions", params={"items": "n1"}).json()["predictions"]
        assert only == [answer[1]]  # the same for everyone
        assert made.client.delete("/v1/items/n1", headers=AS_ADMIN).is_success
        assert made.client.get("/v1/items/n1/similar").status_code == 404
    (tmp_path / "old").mkdir()
    with running(tmp_path / "old", {"a": releases["a"]}) as made:
        put(made, "n1")
        for path in ("/v1/items/n1/similar", "/v1/users/u1/predictions?items=n1,i3"):
            answer = made.client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unscored_item")
            assert (
                "item 'n1' was added after the release was made: this release cannot score items by"
                in (answer.json()["error"]["message"])
            )
        unknown = made.client.get("/v1/users/u1/predictions?items=n1,n77")
        assert (unknown.status_code, unknown.json()["error"]["message"]) == (404, "unknown items: n77")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"price": "cheap"}, "price is 'cheap', expected a number"),
        ({"price": [1.5, 2.5]}, "price is"),
        ({"plot": [0.1, 0.2]}, "plot has 2 numbers, expected 3"),
        ({"plot": "a man and a boat"}, "plot has 1 numbers, expected 3"),
        ({"plot": [0.1, "x", 0.3]}, "features.plot"),
        ({"premiere": "some day"}, "expected a number"),
        ({"premiere": "2020-02-31"}, "expected a number"),
        ({"price": {"amount": 3}}, "features.price"),
        ({"genre": "Drama"}, "cannot be named genre"),
    ],
)
def test_a_feature_of_another_kind_is_refused_and_nothing_is_stored(
    refusing: Running, features: dict[str, Any], words: str
) -> None:
    put_ = refusing.client.put("/v1/items/n9", json=FILM | {"features": features}, headers=AS_ADMIN)
    rows = [{"id": "n8", "title": "Fine"}, {"id": "n9", "title": "Not", "features": features}]
    many = refusing.client.post("/v1/items", json={"items": rows}, headers=AS_ADMIN)
    for answer in (put_, many):
        assert answer.status_code == 422, answer.text
        assert words in answer.text
    assert refusing.client.get("/v1/items/n9").status_code == 404
    assert refusing.client.get("/v1/items/n8").status_code == 404


def test_unknown_columns_dates_and_missing_values_are_taken(refusing: Running) -> None:
    features = {"premiere": "2020-02-29", "colour": "blue", "plot": [0.5, 0.25, 1], "language": "xx"}
    added = put(refusing, "n3", features=features)
    assert added["listed"]
    assert added["features"] == features
    assert added["notes"] == [
        "price: no value for 1 of 1, counted as the mean",
        "language: 'xx' is not among the 2 values learned from, counted as missing",
        "colour: not a column that the release learned from",
    ]
    assert len(shown(refusing, "u1", where="colour = blue")) > 0
    assert put(refusing, "n4", title="Nothing else", genres=[], features={})["listed"]
    assert put(refusing, "n5", genres=["Drama", "Opera"], features={"price": 1, "plot_0": 2})["notes"] == [
        "genres: 'Opera' is not among the 6 learned from",
        "language: no value for 1 of 1, counted as the mean",
        "plot: no value for 1 of 1, counted as the mean",
        "premiere: no value for 1 of 1, counted as the mean",
        "plot_0: not a column that the release learned from",
    ]
    assert refusing.client.get("/v1/items/i1").json()["notes"] == []  # of the release


@pytest.fixture(scope="module")
def refusing(featured: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_ADMIN_TOKEN", "the-admin-token")
        folder = tmp_path_factory.mktemp("refusing")
        with running(folder, {"a": featured}, experiment=exploring(featured)) as made:
            yield made
