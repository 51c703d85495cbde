"""Who asks, and who is recognised."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.models.base import History
from recsys.release import user_state as module
from recsys.release.queries import Query
from recsys.release.user_state import EMPTY_HISTORY, UserStateCache, merge


def history(*pairs: tuple[int, float]) -> History:
    items, values = zip(*pairs, strict=True)
    return History(np.array(items, dtype=np.int32), np.array(values, dtype=np.float32))


KEPT = {0: history((1, 3.0), (2, 4.0)), 1: EMPTY_HISTORY}


def test_the_same_history_is_the_same_person_with_what_was_made_of_them() -> None:
    people, given = UserStateCache(KEPT.__getitem__), history((2, 1.0), (5, 5.0))
    person = people.of(Query(0, given))
    person.states = ["what a member made"]
    assert people.of(Query(0, given, count=3)) is person
    assert person.history.items.tolist() == [1, 2, 5]
    assert person.history.values.tolist() == [3, 1, 5]
    assert person.needs_fold_in


def test_another_history_or_another_row_is_somebody_else() -> None:
    people, given = UserStateCache(KEPT.__getitem__), history((5, 5.0))
    person = people.of(Query(0, given))
    assert people.of(Query(0, history((5, 5.0)))) is not person
    assert people.of(Query(1, given)) is not person
    assert people.of(Query(None, given)) is not person


def test_who_rated_nothing_new_is_as_the_release_keeps_them() -> None:
    people = UserStateCache(KEPT.__getitem__)
    for given in (None, EMPTY_HISTORY):
        person = people.of(Query(0, given))
        assert (person.user, person.needs_fold_in) == (0, False)
        assert person.history is KEPT[0]
    assert people.of(Query(None)).history is EMPTY_HISTORY


def test_no_more_are_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 3)
    people = UserStateCache(KEPT.__getitem__)
    given = [history((item, 2.0)) for item in range(5)]
    seen = [people.of(Query(None, entry)) for entry in given]
    for entry, person in zip(given[2:], seen[2:], strict=True):
        assert people.of(Query(None, entry)) is person
    assert people.of(Query(None, given[0])) is not seen[0]


def test_forgotten_people_are_new_again() -> None:
    people, given = UserStateCache(KEPT.__getitem__), history((5, 5.0))
    person = people.of(Query(None, given))
    people.clear()
    assert people.of(Query(None, given)) is not person


def test_the_newer_rating_of_an_item_counts_at_its_own_place() -> None:
    merged = merge(history((4, 1.0), (2, 2.0), (4, 3.0)), history((2, 5.0), (9, 1.0)))
    assert merged.items.tolist() == [4, 2, 9]
    assert merged.values.tolist() == [3, 5, 1]
