"""A request for a list keeps its fields on the way: HTTP schema, ``RecommendationRequest``, ``Query``."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from serving.api.schemas import ListQuery, SessionBody, UserListQuery
from serving.catalogue.rule_set import RuleSet
from serving.engine.recent_ratings import RecentRatings
from serving.engine.requests import RecommendationRequest, to_query
from serving.engine.served_release import ServedRelease
from tests.releases import make_release

PLAIN = RecommendationRequest(user_id="u3")
OTHERS: dict[str, Any] = {
    "user_id": "u4",
    "ratings": {"i1": 4.0},
    "count": 3,
    "genres": None,  # of the release
    "exclude": ["i2"],
    "include_seen": True,
    "explain": True,
    "arm": "b",
    "split": True,
    "where": "title = 'no such title'",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    return ServedRelease("r", make_release(tmp_path_factory.mktemp("made") / "release"), RuleSet())


@pytest.mark.parametrize("name", [entry.name for entry in fields(RecommendationRequest)])
def test_every_field_of_a_request_reaches_the_query(name: str, loaded: ServedRelease) -> None:
    value = OTHERS[name] if name != "genres" else [loaded.release.items.genre_names[0]]
    changed = replace(PLAIN, **{name: value})
    queries = [repr(to_query(loaded, request, RecentRatings())) for request in (PLAIN, changed)]
    assert (queries[0] != queries[1]) is (name not in ("arm", "split"))  # these two choose release and parser
    plain = name in ("user_id", "count", "arm", "split")
    assert changed.plain_user_id == (changed.user_id if plain else None)


@pytest.mark.parametrize("schema", [ListQuery, UserListQuery, SessionBody])
def test_the_schemas_hold_nothing_that_a_request_lacks(schema: Any) -> None:
    assert set(schema.model_fields) <= {entry.name for entry in fields(RecommendationRequest)}
