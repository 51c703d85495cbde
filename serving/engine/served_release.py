"""A release as one deployment serves it: the recommender, and what a request looks up beside it.

Everything here is worked out from the release on demand and kept, bounded by its catalogue, so that
loading is little more than mapping. Item ids are translated at the edges; inside, rows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.ranking.top_k import top_k
from recsys.release.added_items import recommend_added
from recsys.release.load import load_release
from recsys.release.queries import Query, Recommendation, RecommendationList, Rules
from recsys.release.recommender import Recommender
from recsys.types import BoolArray, JsonObject
from serving.catalogue.item_overlay import NO_CHANGES, ItemOverlay
from serving.catalogue.rule_set import RuleSet
from serving.engine.item_view import ItemView
from serving.engine.list_memo import CachedList, ListMemo
from serving.engine.release_columns import ReleaseColumns
from serving.engine.release_rows import ReleaseRows
from serving.engine.stored_lists import LENGTH, READY, StoredLists
from serving.engine.stored_walk import filtered_list
from serving.engine.unreleased_items import UnreleasedItems

NOT_EXPLORED = "no release was trained with it, and no arm gives places to new items; set an arm's `explore`"
MAX_GENRE_MASKS = 256  # genre combinations remembered; 84 KB each at ML-32M's size


class ServedRelease:
    """One opened release. ``spec`` is what asked for it: a folder or ``models:/name@alias``."""

    def __init__(self, spec: str, folder: Path, rules: RuleSet, *, verify: bool = True) -> None:
        self.spec = spec
        self.folder = folder
        self.release = load_release(folder, verify=verify)
        self.recommender = Recommender(self.release)
        self.release_id = self.release.release_id
        self._columns = ReleaseColumns(self.release.items, self.release.popularity.counts)
        self.rows = ReleaseRows(self.release)
        self.memo = ListMemo()
        self.stored: StoredLists | None = None
        self._set_catalogue(NO_CHANGES, rules)

    def under(self, overlay: ItemOverlay, rules: RuleSet, stored: StoredLists | None) -> ServedRelease:
        """The same opened release with another catalogue or other rules; requests that have taken this one
        finish with it. Lists that the change does not touch stay cached.

        Args:
            overlay: the run-time catalogue.
            rules: the deployment's rules.
            stored: lists that were precomputed under these rules.
        """
        changed = copy.copy(self)
        changed.stored = stored
        changed._set_catalogue(overlay, rules)
        changed.memo = self.memo.without(self._touched(changed))
        return changed

    def _set_catalogue(self, overlay: ItemOverlay, rules: RuleSet) -> None:
        self.rule_set = rules
        self.view = ItemView(self.release, self._columns, overlay, hidden=rules.hidden)
        self.unreleased = UnreleasedItems(self.release, self.view)
        self._masks: dict[tuple[str, ...], BoolArray] = {}
        self.rules = self._rules(rules)
        self.content = self._content()

    def _content(self) -> bytes:
        """What a person's list depends on beside their ratings and its length."""
        hidden = sorted(_rows_of(self.rules.hidden))
        parts = (self.release_id, hidden, sorted(self.rules.boosts.items()), self.rules.diversity)
        return repr(parts).encode()

    def _touched(self, changed: ServedRelease) -> set[int] | None:
        """Rows that lists show differently in ``changed``, None where any list may differ."""
        hidden, now_hidden = _rows_of(self.rules.hidden), _rows_of(changed.rules.hidden)
        if (changed.rules.boosts, changed.rules.diversity) != (self.rules.boosts, self.rules.diversity):
            return None
        if hidden - now_hidden:
            return None
        return (now_hidden - hidden) | {
            row for row in self.view.differences(changed.view) if row < len(self.release.items)
        }

    def card(self, row: int) -> JsonObject:
        """``id``, ``title``, ``genres`` of an item, and ``new`` where nobody has rated it; the dict is
        shared, copy it before changing it."""
        return self.view.card(row)

    def details(self, row: int, *, explores: bool) -> JsonObject:
        """All that is known of an item, and why lists do not hold it; ``explores`` says whether any arm
        gives places to new items."""
        found = self.view.details(row)
        if row >= len(self.release.items):
            found["notes"] = self.unreleased.notes(row)
        if found["listed"] and row >= len(self.release.items):
            reason = self.unreleased.reason(row) or (None if explores else NOT_EXPLORED)
            found |= {"listed": reason is None, "reason": reason}
        return found

    @cached_property
    def new_items(self) -> BoolArray | None:
        """(items,) those without a rating in the release; None where there are none."""
        new = self.release.popularity.counts == 0
        return new if new.any() else None

    def new_among(self, allowed: BoolArray | None) -> BoolArray | None:
        """(items,) the new ones of ``allowed``; ``allowed`` where there are none."""
        if self.new_items is None or allowed is None:
            return allowed if self.new_items is None else self.new_items
        return self.new_items & allowed

    def allowed(self, genres: tuple[str, ...]) -> BoolArray:
        """(items,) which have any of ``genres``."""
        genres = tuple(sorted(name.casefold() for name in genres))
        mask = self._masks.get(genres)
        if mask is None:
            mask = self.view.with_genres(genres)[: len(self.release.items)]
            if len(self._masks) < MAX_GENRE_MASKS:
                self._masks[genres] = mask
        return mask

    def of_genres(self, genres: Sequence[str]) -> BoolArray:
        """As ``allowed``. Raises InputError for an unknown genre."""
        unknown = [name for name in genres if name.casefold() not in self.view.genres]
        if unknown:
            known = ", ".join(self.view.genres.values())
            raise InputError(f"unknown genre {unknown[0]!r}; there are: {known}")
        return self.allowed(tuple(genres))

    def where(self, text: str) -> BoolArray:
        """(items,) mask of the release's items that a filter holds for. Raises FilterSyntaxError."""
        return self.view.where(text)[: len(self.release.items)]

    def genre_names(self, values: Sequence[str]) -> tuple[str, ...]:
        """Genres in a query string's values: one that is a genre is that one, others are comma-separated."""
        names = (
            [value] if value.casefold() in self.view.genres else [part.strip() for part in value.split(",")]
            for value in values
        )
        return tuple(name for group in names for name in group if name)

    @cached_property
    def title_lines(self) -> tuple[str, NDArray[np.int64]]:
        """The casefolded titles as lines of one text, and the position where each ends."""
        return self.release.items.titles.lines()

    def clear_cache(self) -> None:
        """Everybody's feedback, and what was made of it."""
        self.rows.clear_histories()
        self.memo.clear()
        self.recommender.clear_cache()

    def listed(self, found: Iterable[Recommendation], *, explain: bool = False) -> list[JsonObject]:
        """Items as they stand in an answer, with the rated items that speak for each where ``explain``."""
        items = []
        for shown in found:
            item = {
                **self.card(shown.item),
                "score": round(shown.score, 6),
                "predicted_rating": round(shown.predicted_rating, 4),
            }
            if explain:
                cards = map(self.card, shown.because)
                item["because"] = [{"id": card["id"], "title": card["title"]} for card in cards]
            items.append(item)
        return items

    def cached_list(
        self, user: int | None, person: str | None, count: int, ratings: object
    ) -> CachedList | None:
        """A plain list from the memo or the stored ones, None where it must be computed.

        Args:
            user: the row of whom ``ratings`` add nothing to.
            person: the id of somebody with ratings since the release, else None.
            count: the list's length.
            ratings: the person's recent ratings, recognised by identity.
        """
        key = user if person is None else person
        cached = self.memo.get(key, count, ratings)
        if cached is None and person is None and user is not None:
            cached = self._stored_list(user, count)
            if cached is not None:
                self.memo.put(key, count, ratings, cached)
        return cached

    def remember(
        self, user: int | None, person: str | None, count: int, ratings: object, answer: RecommendationList
    ) -> CachedList:
        """Keeps a plain list for ``cached_list``."""
        cached = CachedList(answer, self.listed(answer.recommendations))
        self.memo.put(user if person is None else person, count, ratings, cached)
        return cached

    def outdated_list(self, user: int | None, person: str, query: Query) -> RecommendationList | None:
        """The newest cached list without what was rated since: an answer under overload."""
        cached = self.memo.newest(person, query.count) or (
            None
            if user is None
            else self.memo.newest(user, query.count) or self._stored_list(user, query.count)
        )
        if cached is None:
            return None
        seen = set() if query.history is None else set(query.history.items.tolist())
        kept = tuple(item for item in cached.answer.recommendations if item.item not in seen)
        return RecommendationList(
            kept, cached.answer.source, fallback="busy: the list from before the newest ratings"
        )

    def _stored_list(self, user: int, count: int) -> CachedList | None:
        if self.stored is None or count > LENGTH:
            return None
        if self._stored_is_outdated(user):
            return None
        answer = self.stored.get(user, count)
        unchanged = count == READY and not self.view.overlay.items
        return CachedList(
            answer, self.listed(answer.recommendations), self.stored.items_json(user) if unchanged else None
        )

    def _stored_is_outdated(self, user: int) -> bool:
        """Whether a user's list was stored before something of it was hidden."""
        unlisted = self.view.unlisted
        return self.stored is not None and bool(
            len(unlisted) and np.isin(self.stored.items[user], unlisted).any()
        )

    def filtered_list(self, query: Query) -> RecommendationList | None:
        """A list with a filter that the stored ones decide, else None."""
        narrowed = query.allowed is not None or query.exclude is not None
        if self.stored is None or query.user is None or not narrowed or self._stored_is_outdated(query.user):
            return None
        manifest = self.release.manifest
        return filtered_list(
            self.stored, query, rules=self.rules, ranking=manifest.ranking, scale=manifest.dataset.scale
        )

    def recommend_unreleased(self, query: Query, rows: NDArray[np.int64]) -> list[Recommendation]:
        """The best of the ``rows`` of ``unreleased``, by their features."""
        items, features = self.unreleased.rows[rows].tolist(), self.unreleased.features[rows]
        return recommend_added(self.recommender, query, features, item_numbers=items)

    def popular_list(self, query: Query, reason: str) -> RecommendationList:
        """What needs no ranker and no member: the last resort."""
        shelf = self.release.popularity
        scores = shelf.counts.astype(np.float32) / max(float(shelf.counts.max()), 1e-9)
        if not query.include_seen:
            if query.user is not None:
                scores[self.release.histories(query.user).items] = -np.inf
            if query.history is not None:
                scores[query.history.items] = -np.inf
        for rows in (self.rules.hidden, query.exclude):
            if rows is not None:
                scores[rows] = -np.inf
        if query.allowed is not None:
            scores[~query.allowed] = -np.inf
        listed = tuple(
            Recommendation(int(row), float(scores[row]), float(shelf.means[row]))
            for row in top_k(scores, query.count)
        )
        return RecommendationList(listed, "popular", fallback=reason)

    def warm_up(self) -> None:
        """Touches what the first requests would: pages, caches, lazily built tables."""
        users = len(self.release.users)
        for user in np.linspace(0, users - 1, min(users, 8)).astype(int).tolist():
            for answer in self.recommender.recommend([Query(user=user)], self.rules):
                for found in answer.recommendations:
                    self.card(found.item)
            kept = self.release.histories(user)
            self.recommender.recommend([Query(user=None, history=kept)] * 2, self.rules)
        self.recommender.popular(10)
        self.recommender.similar(0, 10)
        self.popular_list(Query(user=0), "")
        _ = self.title_lines

    def _rules(self, rules: RuleSet) -> Rules:
        hidden = self.rows.items(sorted(rules.hidden))
        unlisted = self.view.unlisted
        hidden = np.union1d(hidden, unlisted[unlisted < len(self.release.items)]).astype(np.int32)
        boosts = {
            row: boost for item, boost in rules.boosts.items() if (row := self.rows.item(item)) is not None
        }
        return Rules(hidden if len(hidden) else None, boosts, rules.diversity)


def _rows_of(rows: NDArray[np.int32] | None) -> set[int]:
    return set() if rows is None else set(rows.tolist())
