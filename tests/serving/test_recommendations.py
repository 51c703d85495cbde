from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.models.base import History
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from serving.api import response_schemas
from tests.releases import GENRES
from tests.serving.running import Running, running

USERS = [f"u{row}" for row in range(60)]
ITEMS = [f"i{row}" for row in range(40)]
HIDDEN = ["i0", "i7", "i13"]


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def test_over_http_as_offline(shared: Running, releases: dict[str, Path]) -> None:
    """Every user's list, over HTTP, is the one that an evaluation gets from the same release."""
    recommenders = {name: Recommender(load_release(folder)) for name, folder in releases.items()}
    for row, user in enumerate(USERS):
        answer = shared.list(user)
        expected = recommenders[answer["arm"]].recommend([Query(user=row)])[0]
        names = recommenders[answer["arm"]].release.items.ids.names
        assert ids(answer) == [names[entry.item] for entry in expected.recommendations]
        assert answer["source"] == expected.source
        assert [item["score"] for item in answer["items"]] == pytest.approx(
            [entry.score for entry in expected.recommendations], abs=1e-5
        )
        stars = [entry.predicted_rating for entry in expected.recommendations]
        assert [item["predicted_rating"] for item in answer["items"]] == pytest.approx(stars, abs=1e-3)


def test_an_answer_says_who_gave_it(shared: Running) -> None:
    answer = shared.list("u1", count=3)
    response_schemas.ListResponse.model_validate(answer, strict=True)
    loaded = shared.service.deployment.arms[answer["arm"]]
    assert answer["model_version"] == loaded.release_id
    assert (answer["experiment"], answer["assignment"], answer["fallback"]) == ("main", "share", None)
    assert len(answer["items"]) == 3
    assert answer["items"][0]["title"].startswith("Film ")


def test_server_timing_names_the_parts(shared: Running) -> None:
    header = shared.client.get("/v1/users/u1/recommendations?count=17").headers["server-timing"]
    parts = dict(part.split(";dur=") for part in header.split(", "))
    assert {"assign", "wait", "retrieve", "total"} <= set(parts)
    assert sum(float(value) for name, value in parts.items() if name != "total") == pytest.approx(
        float(parts["total"]), abs=0.1
    )


def test_an_unknown_user_gets_popular_items_marked_as_such(shared: Running) -> None:
    answer = shared.list("nobody-knows-me")
    assert answer["source"] == "popular"
    popular = shared.client.get("/v1/popular").json()
    if answer["arm"] == popular["arm"]:
        assert ids(answer) == [item["id"] for item in popular["items"]]


def test_a_session_is_folded_in(shared: Running, releases: dict[str, Path]) -> None:
    body = {
        "ratings": [{"item_id": "i3", "rating": 5}, {"item_id": "ghost", "rating": 1}],
        "arm": "b",
        "explain": True,
    }
    answer = shared.client.post("/v1/recommendations", json=body).json()
    response_schemas.ListResponse.model_validate(answer, strict=True)
    recommender = Recommender(load_release(releases["b"]))
    row = recommender.release.items.ids.row("i3")
    assert row is not None
    history = History(np.array([row], dtype=np.int32), np.array([5.0], dtype=np.float32))
    expected = recommender.recommend([Query(user=None, history=history)])[0]
    assert ids(answer) == [
        recommender.release.items.ids.names[entry.item] for entry in expected.recommendations
    ]
    assert (answer["source"], answer["assignment"]) == ("folded_in", "override")
    assert answer["unknown_items"] == ["ghost"]
    assert {reason["id"] for item in answer["items"] for reason in item["because"]} == {"i3"}


def test_many_at_once_are_the_same_lists(shared: Running) -> None:
    wanted = [{"user_id": user, "count": 5} for user in USERS[:40]]
    answers = shared.client.post("/v1/recommendations/batch", json={"requests": wanted}).json()["answers"]
    assert [ids(answer) for answer in answers] == [ids(shared.list(user, count=5)) for user in USERS[:40]]
    assert len({answer["exposure_id"] for answer in answers}) == 40
    bad = {"requests": [{"user_id": "u1"}, {"user_id": "u2", "genres": ["Nonsense"]}]}
    before = shared.service.writer.waiting
    assert shared.client.post("/v1/recommendations/batch", json=bad).status_code == 422
    assert shared.service.writer.waiting <= before


def test_reasons_are_films_that_the_user_rated(shared: Running) -> None:
    answer = shared.list("u2", explain=True)
    release = shared.service.deployment.control.release
    rated = {str(release.items.ids.names[row]) for row in release.histories(2).items}
    reasons = {reason["id"] for item in answer["items"] for reason in item["because"]}
    assert reasons
    assert reasons <= rated


def test_predictions_popular_similar_and_titles(shared: Running, releases: dict[str, Path]) -> None:
    answer = shared.client.get("/v1/users/u4/predictions", params={"items": "i1,i2"}).json()
    response_schemas.PredictionsResponse.model_validate(answer, strict=True)
    recommender = Recommender(load_release(releases[answer["arm"]]))
    stars = recommender.predict(Query(user=4), recommender.release.items.ids.rows[:0].astype(np.int32))
    assert len(stars) == 0
    rows = np.array([recommender.release.items.ids.row(item) for item in ("i1", "i2")], dtype=np.int32)
    result = [entry["predicted_rating"] for entry in answer["predictions"]]
    release = load_release(releases["a"])
    known = len(release.histories(release.users.row("u4")).items)
    below, above = (1.5, 1.25) if known < 10 else (1.0, 0.75)
    for row in answer["predictions"]:
        low, high = row["interval"]
        assert low == pytest.approx(max(1.0, row["predicted_rating"] - below), abs=2e-4)
        assert high == pytest.approx(min(5.0, row["predicted_rating"] + above), abs=2e-4)
    assert result == pytest.approx(recommender.predict(Query(user=4), rows).tolist(), abs=1e-3)
    similar = shared.client.get("/v1/items/i1/similar", params={"count": 4}).json()
    response_schemas.ItemsResponse.model_validate(similar, strict=True)
    assert "i1" not in ids(similar)
    drama = shared.client.get("/v1/popular", params={"genre": "drama", "trending": True}).json()
    assert all("Drama" in item["genres"] for item in drama["items"])
    titles = shared.client.get("/v1/items", params={"title": "film 1", "count": 50}).json()["items"]
    assert {item["id"] for item in titles} == {item for item in ITEMS if item.startswith("i1")}


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/users/u1/recommendations?count=0", 422, "greater than or equal to 1"),
        ("/v1/users/u1/recommendations?count=1000000", 422, "less than or equal to 100"),
        ("/v1/users/u1/recommendations?count=ten", 422, "valid integer"),
        ("/v1/users/u1/recommendations?cuont=5", 422, "Extra inputs"),
        ("/v1/users/u1/recommendations?genres=Drama,Opera", 422, "unknown genre 'Opera'; there are: Action"),
        ("/v1/users/u1/recommendations?arm=c", 422, "there is no arm 'c'; there are a, b"),
        ("/v1/users/a%00b/recommendations", 422, "pattern"),
        (f"/v1/users/{'x' * 4097}/recommendations", 422, "at most 4096"),
        (f"/v1/users/u1/recommendations?exclude={','.join(['i1'] * 1001)}", 422, "at most 1000"),
        ("/v1/users/u1/predictions?items=i1,i999", 404, "unknown items: i999"),
        ("/v1/users/u1/predictions?items=,", 422, "1 to 100 item ids"),
        ("/v1/items/i999/similar", 404, "there is no item 'i999'"),
        ("/v1/popular?genre=Opera", 422, "unknown genre 'Opera'"),
        ("/v1/nothing", 404, "Not Found"),
    ],
)
def test_bad_questions_get_one_clear_shape(shared: Running, path: str, status: int, says: str) -> None:
    answer = shared.client.get(path)
    assert answer.status_code == status
    body = response_schemas.ErrorResponse.model_validate(answer.json(), strict=True)
    assert says in body.error.message
    assert body.request_id == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("ratings", "says"),
    [
        ([{"item_id": "i1", "rating": 99}], "between 0.5 and 5"),
        ([{"item_id": "i1", "rating": "five"}], "valid number"),
        ([{"item_id": 7, "rating": 5}], "valid string"),
        ([{"item_id": "i1", "rating": 3}] * 1001, "at most 1000"),
    ],
)
def test_bad_sessions_are_refused(shared: Running, ratings: list[dict[str, Any]], says: str) -> None:
    answer = shared.client.post("/v1/recommendations", json={"ratings": ratings})
    assert answer.status_code == 422
    assert says in answer.json()["error"]["message"]


def test_a_thousand_exclusions_are_fine(shared: Running) -> None:
    away = [*ITEMS[:35], *(f"x{n}" for n in range(965))]
    answer = shared.list("nobody", exclude=",".join(away), count=100)
    assert set(ids(answer)) <= set(ITEMS[35:])
    assert len(ids(answer)) == 5


@pytest.fixture(scope="module", params=[60_000.0, 0.0001], ids=["in time", "too late"])
def ruled(
    request: pytest.FixtureRequest, releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A service with rules, once as it should be and once with every list falling back."""
    rules = {"hidden": [*HIDDEN, "not-there"], "boosts": {"i0": 9.0, "i5": 0.5}, "diversity": 0.3}
    folder = tmp_path_factory.mktemp("ruled")
    with running(folder, releases, rules=rules, deadline_ms=request.param) as made:
        for n in range(12):  # ratings given over HTTP are seen items too
            made.rate(f"u{n}", f"i{20 + n}", 4.0, f"before-{n}")
            made.rate(f"new{n}", f"i{20 + n}", 5.0, f"before-new-{n}")
        yield made


@given(
    user=st.sampled_from([*USERS, *(f"new{n}" for n in range(12)), "nobody"]),
    exclude=st.lists(st.sampled_from([*ITEMS, "ghost"]), max_size=30),
    genres=st.lists(st.sampled_from(GENRES), max_size=3),
    count=st.integers(1, 100),
    session=st.lists(st.tuples(st.sampled_from(ITEMS), st.sampled_from([0.5, 3.0, 5.0])), max_size=8),
    include_seen=st.booleans(),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_must_not_appear_never_does(
    ruled: Running,
    user: str,
    exclude: list[str],
    genres: list[str],
    count: int,
    session: list[tuple[str, float]],
    include_seen: bool,
) -> None:
    """Seen, hidden, filtered and excluded items, for known, new and unknown users, in time or too late."""
    body = {
        "user_id": user,
        "exclude": exclude,
        "genres": genres,
        "count": count,
        "include_seen": include_seen,
        "ratings": [{"item_id": item, "rating": stars} for item, stars in session],
    }
    answer: httpx.Response = ruled.client.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    release = ruled.service.deployment.control.release
    row = release.users.row(user)
    seen = {item for item, _ in session}
    if row is not None:
        seen |= {str(release.items.ids.names[item]) for item in release.histories(row).items}
    seen |= set(ruled.service.recent_ratings.of(user))
    genre_of = {str(name): set(release.items.genres(n)) for n, name in enumerate(release.items.ids.names)}
    allowed = {item for item in ITEMS if not genres or genre_of[item] & set(genres)}
    allowed -= set(HIDDEN) | set(exclude) | (set() if include_seen else seen)
    result = ids(answer.json())
    assert set(result) <= allowed
    assert len(result) == len(set(result)) == min(count, len(allowed))
