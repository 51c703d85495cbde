"""What must never be in a list, where lists come from, and what happens when a part fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import InputError
from recsys.release.load import load_release
from recsys.release.queries import Query, RecommendationList, Rules
from recsys.release.recommender import Recommender
from tests.recsys.release.test_topk_pruning import ITEMS, USERS, history, items_of
from tests.releases import make_release

NOBODY = 59  # the last user of a tiny release has no ratings


histories = st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from([0.5, 2.0, 3.5, 5.0]), max_size=12)
some_items = st.lists(st.integers(0, ITEMS - 1), max_size=15, unique=True)


@given(
    user=st.none() | st.integers(0, USERS - 1),
    fresh=histories,
    exclude=some_items,
    hidden=some_items,
    allowed=st.none() | some_items,
    boosts=st.dictionaries(st.integers(0, ITEMS - 1), st.floats(-3, 3), max_size=5),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    count=st.integers(1, 50),
)
@settings(max_examples=150, deadline=None)
def test_seen_hidden_excluded_and_filtered_items_never_appear(
    recommender: Recommender,
    user: int | None,
    fresh: dict[int, float],
    exclude: list[int],
    hidden: list[int],
    allowed: list[int] | None,
    boosts: dict[int, float],
    diversity: float,
    count: int,
) -> None:
    mask = None
    if allowed is not None:
        mask = np.zeros(ITEMS, dtype=np.bool_)
        mask[allowed] = True
    query = Query(
        user=user,
        history=history(fresh) if fresh else None,
        count=count,
        exclude=np.array(exclude, dtype=np.int32),
        allowed=mask,
    )
    rules = Rules(hidden=np.array(hidden, dtype=np.int32), boosts=boosts, diversity=diversity)
    (answer,) = recommender.recommend([query], rules)
    seen = set(fresh) | (set() if user is None else set(recommender.release.histories(user).items.tolist()))
    may = set(range(ITEMS)) - seen - set(exclude) - set(hidden)
    if allowed is not None:
        may &= set(allowed)
    listed = items_of(answer)
    assert set(listed) <= may
    assert len(set(listed)) == len(listed) == min(count, len(may))
    assert all(0.5 <= entry.predicted_rating <= 5.0 for entry in answer.recommendations)
    assert answer.fallback == ""


def test_a_batch_answers_as_one_by_one(recommender: Recommender) -> None:
    queries = [Query(user=row % USERS) for row in range(70)] + [
        Query(user=None),
        Query(None, history({2: 4.0})),
        Query(7, history({2: 4.0, 9: 0.5})),
        Query(None, history({2: 4.0})),
    ]
    together = recommender.recommend(queries)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = recommender.recommend([query])
        assert items_of(alone) == items_of(answer)
        assert alone.source == answer.source
        stars = [entry.predicted_rating for entry in alone.recommendations]
        assert [entry.predicted_rating for entry in answer.recommendations] == pytest.approx(stars, abs=1e-5)


def test_sources_say_how_a_list_came_about(recommender: Recommender) -> None:
    queries = [
        Query(3),
        Query(3, history({2: 5.0})),
        Query(None, history({2: 5.0})),
        Query(None),
        Query(NOBODY),
    ]
    sources = [answer.source for answer in recommender.recommend(queries)]
    assert sources == ["personal", "folded_in", "folded_in", "popular", "popular"]


def test_a_stranger_gets_the_most_rated_items(recommender: Recommender) -> None:
    (answer,) = recommender.recommend([Query(user=None)])
    counts = recommender.release.popularity.counts
    assert items_of(answer) == np.lexsort((np.arange(ITEMS), -counts))[:10].tolist()
    popular = recommender.popular(10)
    assert [entry.item for entry in popular] == items_of(answer)
    stars = recommender.predict(Query(user=None), np.array(items_of(answer)))
    np.testing.assert_allclose([entry.predicted_rating for entry in popular], stars, atol=1e-6)


def test_popular_by_genre_and_trending(recommender: Recommender) -> None:
    shelf = recommender.release.items
    for genre in shelf.genre_names:
        assert all(genre in shelf.genres(entry.item) for entry in recommender.popular(5, genre))
    assert recommender.popular(5, "drama") == recommender.popular(5, "Drama")
    trending = recommender.release.popularity.trending
    assert recommender.popular(1, trending=True)[0].item == int(np.argmax(trending))
    with pytest.raises(InputError, match="unknown genre 'Opera'; there are Action, Comedy"):
        recommender.popular(5, "Opera")


def test_seen_items_come_back_when_asked_for(recommender: Recommender) -> None:
    (answer,) = recommender.recommend([Query(user=3, count=ITEMS, include_seen=True)])
    assert sorted(items_of(answer)) == list(range(ITEMS))


def test_a_fresh_rating_counts_as_seen_and_replaces_the_old_one(recommender: Recommender) -> None:
    known = recommender.release.histories(3)
    item = int(known.items[0])
    person = recommender.user_state(Query(3, history({item: 0.5})))
    assert len(person.history.items) == len(known.items)
    assert person.history.values[person.history.items == item].tolist() == [0.5]
    assert person.needs_fold_in


def test_explanations_name_rated_items_that_pull_the_most(recommender: Recommender) -> None:
    (answer,) = recommender.recommend([Query(user=3, explain=True)])
    seen = recommender.release.histories(3).items
    for entry in answer.recommendations:
        voices = recommender.release.ranker.support(seen, entry.item)
        assert set(entry.because) <= set(seen.tolist())
        assert list(entry.because) == [
            int(seen[index]) for index in np.argsort(-voices)[: len(entry.because)]
        ]


def test_similar_items_are_the_nearest_vectors(recommender: Recommender) -> None:
    vectors = recommender.release.items.vectors
    near = recommender.similar(4, 5)
    cosines = vectors @ vectors[4]
    expected = [item for item in np.argsort(-cosines, kind="stable").tolist() if item != 4][:5]
    assert [entry.item for entry in near] == expected
    assert near[0].score == pytest.approx(float(cosines[expected[0]]))


def test_a_boost_lifts_an_item_that_was_no_candidate(recommender: Recommender) -> None:
    (plain,) = recommender.recommend([Query(user=3, count=ITEMS)])
    last = items_of(plain)[-1]
    (boosted,) = recommender.recommend([Query(user=3)], Rules(boosts={last: 10.0}))
    assert items_of(boosted)[0] == last


def test_diversity_trades_score_for_unlike_neighbours(recommender: Recommender) -> None:
    def alike(answer: RecommendationList) -> float:
        genres = recommender.release.items.member_of[items_of(answer)].astype(float)
        return float((genres @ genres.T).mean())

    users = [Query(user=row) for row in range(40)]
    plain = recommender.recommend(users)
    varied = recommender.recommend(users, Rules(diversity=0.7))
    assert np.mean([alike(entry) for entry in varied]) < np.mean([alike(entry) for entry in plain])
    assert items_of(varied[0])[0] == items_of(plain[0])[0]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (Query(user=None, count=0), "a list of 0 items"),
        (Query(user=USERS), "user row 60 is not in the release, which has 60"),
        (Query(user=-1), "user row -1"),
        (Query(user=1, exclude=np.array([ITEMS])), "expected 0 .. 39"),
        (Query(user=None, history=history({-1: 3.0})), "item rows -1 .. -1"),
    ],
)
def test_impossible_questions_are_refused(recommender: Recommender, query: Query, told: str) -> None:
    with pytest.raises(InputError, match=told):
        recommender.recommend([query])


def test_stages_are_timed(recommender: Recommender) -> None:
    (answer,) = recommender.recommend([Query(user=3)])
    assert set(answer.milliseconds) == {"retrieve", "fold_in", "score", "blend"}
    assert all(value >= 0 for value in answer.milliseconds.values())


@pytest.mark.parametrize("rules", [Rules(), Rules(diversity=0.4), Rules(boosts={7: 0.3, 130: 0.9})])
def test_a_list_does_not_depend_on_its_length(tmp_path: Path, rules: Rules) -> None:
    """With a weight for predicted ratings: the first ten of a top-100 are the top ten."""
    folder = make_release(tmp_path / "release", items=160, rating_weight=0.8, candidates=20)
    asked = Recommender(load_release(folder))
    for user in range(0, 59, 6):
        lists = {
            count: items_of(asked.recommend([Query(user=user, count=count)], rules)[0])
            for count in (1, 10, 20, 100)
        }
        for count, items in lists.items():
            assert items == lists[100][:count]
