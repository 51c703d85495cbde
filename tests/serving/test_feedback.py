from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from serving.domain import Feedback
from serving.engine.recent_ratings import RecentRatings
from serving.engine.requests import RecommendationRequest, to_query
from serving.events.retention import erase
from serving.events.store import EventStore
from tests.serving.running import Running, running
from tests.waiting import wait_for


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path) -> Any:
    with running(tmp_path, {"a": releases["a"]}) as entry:
        yield entry


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def test_a_rating_changes_the_very_next_list(made: Running) -> None:
    before = made.list("u5")
    first = ids(before)[0]
    messages = made.rate("u5", first, 0.5, "e1", exposure_id=before["exposure_id"])
    assert messages == {"stored": ["e1"], "duplicates": []}
    after = made.list("u5")
    assert first not in ids(after)
    assert (before["source"], after["source"]) == ("personal", "folded_in")
    assert first in ids(made.list("u5", include_seen=True, count=100))


def test_a_clock_ten_years_ahead_freezes_no_rating(made: Running) -> None:
    made.rate("u5", "i3", 5.0, "e1", at=time.time() + 10 * 365 * 86_400)
    assert made.service.recent_ratings.of("u5") == {"i3": 5.0}
    made.rate("u5", "i3", 1.0, "e2")
    assert made.service.recent_ratings.of("u5") == {"i3": 1.0}
    assert max(event.at for event in made.service.store.feedback()) <= time.time()


def test_a_new_user_is_folded_in_after_the_first_rating(made: Running) -> None:
    assert made.list("newcomer")["source"] == "popular"
    made.rate("newcomer", "i3", 5.0, "e1")
    after = made.list("newcomer")
    body = {"ratings": [{"item_id": "i3", "rating": 5.0}]}
    session = made.client.post("/v1/recommendations", json=body).json()
    assert after["source"] == "folded_in"
    assert ids(after) == ids(session)


def test_every_replica_learns_it_and_so_does_a_restart(
    made: Running, releases: dict[str, Path], tmp_path: Path
) -> None:
    with running(tmp_path, {"a": releases["a"]}) as other:
        made.rate("newcomer", "i3", 5.0, "e1")
        wait_for(lambda: other.list("newcomer")["source"] == "folded_in")
        assert ids(other.list("newcomer")) == ids(made.list("newcomer"))
    with running(tmp_path, {"a": releases["a"]}) as later:
        assert ids(later.list("newcomer")) == ids(made.list("newcomer"))


def test_an_event_counts_once(made: Running) -> None:
    made.rate("newcomer", "i3", 5.0, "e1")
    assert made.rate("newcomer", "i3", 5.0, "e1") == {"stored": [], "duplicates": ["e1"]}
    assert made.service.recent_ratings.of("newcomer") == {"i3": 5.0}
    assert [row.value for row in made.service.store.feedback()] == [5.0]
    twice = [{"event_id": "e2", "kind": "click", "user_id": "u1", "item_id": "i1"}] * 2
    answer = made.client.post("/v1/feedback", json={"events": twice}).json()
    assert answer["stored"] == ["e2"]


def test_an_event_id_with_other_content_is_refused_whole_and_named(made: Running) -> None:
    made.rate("newcomer", "i3", 5.0, "e1")
    click = {"event_id": "e2", "kind": "click", "user_id": "u1", "item_id": "i1"}
    for changed in ({"rating": 0.5}, {"item_id": "i4"}, {"user_id": "u2"}, {"exposure_id": "x"}):
        other = {"event_id": "e1", "kind": "rating", "user_id": "newcomer", "item_id": "i3", "rating": 5.0}
        answer = made.client.post("/v1/feedback", json={"events": [click, other | changed]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "event_conflict")
        assert "event_id e1:" in answer.json()["error"]["message"]
    twice = [click, click | {"item_id": "i2"}]
    assert made.client.post("/v1/feedback", json={"events": twice}).status_code == 409
    assert [row.event_id for row in made.service.store.feedback()] == ["e1"]
    assert made.service.recent_ratings.of("newcomer") == {"i3": 5.0}
    assert made.client.post("/v1/feedback", json={"events": [click]}).json()["stored"] == ["e2"]


def test_feedback_is_stored_with_what_was_predicted_before(made: Running, releases: dict[str, Path]) -> None:
    made.rate("u6", "i2", 4.5, "e1", at=1_700_000_000.0, exposure_id="x")
    recommender = Recommender(load_release(releases["a"]))
    row = recommender.release.items.ids.row("i2")
    stars = recommender.predict(Query(user=6), np.array([row], dtype=np.int32))
    stored = next(made.service.store.feedback())
    assert stored == Feedback("e1", "x", "u6", "rating", "i2", 4.5, 1_700_000_000.0, stored.predicted)
    assert stored.predicted == pytest.approx(float(stars[0]), abs=1e-3)


def test_feedback_finds_its_arm_by_the_exposure(made: Running) -> None:
    answer = made.list("u7")
    made.rate("u7", ids(answer)[2], 4.0, "e1", exposure_id=answer["exposure_id"])
    wait_for(lambda: len(list(made.service.store.exposures())) == 1)
    (shown,), (messages,) = made.service.store.exposures(), made.service.store.feedback()
    assert messages.exposure_id == shown.exposure_id
    assert (shown.arm, shown.release_id, list(shown.items)) == ("a", answer["model_version"], ids(answer))
    assert messages.item_id == shown.items[2]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"kind": "rating", "item_id": "i1"}, "a rating, and only a rating, has a rating"),
        ({"kind": "click", "item_id": "i1", "rating": 3}, "a rating, and only a rating, has a rating"),
        ({"kind": "click"}, "needs an item_id"),
        ({"kind": "rating", "item_id": "i1", "rating": 7}, "between 0.5 and 5"),
        ({"kind": "rating", "item_id": "i1", "rating": "NaN"}, "valid number"),
        ({"kind": "View!", "item_id": "i1"}, "pattern"),
        ({"kind": "impression", "user_id": "a\u0000b"}, "pattern"),
        ({"kind": "impression", "at": -1}, "greater than or equal to 0"),
        ({"kind": "impression", "colour": "red"}, "Extra inputs"),
    ],
)
def test_events_that_cannot_be(shared: Running, event: dict[str, Any], says: str) -> None:
    body = {"events": [{"event_id": "bad", "user_id": "u1", **event}]}
    answer = shared.client.post("/v1/feedback", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["error"]["message"]


def test_a_store_that_is_away_stops_only_feedback(made: Running, tmp_path: Path) -> None:
    made.rate("u1", "i1", 4.0, "before")
    (tmp_path / "events.db").rename(tmp_path / "away.db")
    body = {
        "events": [{"event_id": "during", "kind": "rating", "user_id": "u1", "item_id": "i2", "rating": 3}]
    }
    refused = made.client.post("/v1/feedback", json=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "unavailable"
    exposed = [made.list("u2")["exposure_id"] for _ in range(20)]
    assert made.client.get("/readyz").json() == {"status": "ready", "events": "away"}
    (tmp_path / "away.db").rename(tmp_path / "events.db")
    wait_for(lambda: made.client.post("/v1/feedback", json=body).status_code == 200)
    store = EventStore(str(tmp_path / "events.db"))
    wait_for(lambda: len(list(store.exposures())) == 20)
    assert {row.exposure_id for row in store.exposures()} == set(exposed)
    assert {row.event_id for row in store.feedback()} == {"before", "during"}


def test_erased_users_are_forgotten(made: Running) -> None:
    """Their ratings, and what the releases made of them for the list."""
    made.rate("newcomer", "i3", 5.0, "e1")
    made.list("newcomer")
    (loaded,) = made.service.deployment.arms.values()
    query = to_query(loaded, RecommendationRequest(user_id="newcomer"), made.service.recent_ratings)
    person = loaded.recommender.user_state(query)
    assert loaded.recommender.user_state(query) is person
    erase(made.service.store, "newcomer")
    wait_for(lambda: made.list("newcomer")["source"] == "popular")
    assert loaded.recommender.user_state(query) is not person


def test_the_newest_rating_of_an_item_counts_in_whatever_order_they_come() -> None:
    recent_ratings = RecentRatings()
    for at, stars in ((2.0, 4.0), (1.0, 1.0), (3.0, 5.0), (2.5, 2.0)):
        recent_ratings.add(Feedback(f"e{at}", None, "u", "rating", "i1", stars, at))
    recent_ratings.add(Feedback("c", None, "u", "click", "i2", None, 9.0))
    assert recent_ratings.of("u") == {"i1": 5.0}
    assert len(recent_ratings) == 1
