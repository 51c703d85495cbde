"""Clicks as positives, and items added through the service, merged with the data a run was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.data.dataset import Dataset
from recsys.data.event_ratings import read_served
from recsys.data.merged_ratings import merge_served
from recsys.errors import InputError
from recsys.ranking.list_data import ListData, with_positives
from serving.domain import Feedback
from serving.events.item_log import ItemChange, save_items
from serving.events.store import EventStore
from tests.recsys.data.served_events import NOW, pairs, rated
from tests.releases import with_features


def clicked(number: int, user: str, item: str, kind: str, at: float) -> Feedback:
    return Feedback(f"c{number}", None, user, kind, item, None, at)


def measured(metrics: dict[str, Any]) -> dict[str, Any]:
    return {"primary": "revenue", "revenue": {"events": metrics, "exposures": "served"}}


def test_clicks_are_positives_with_the_weights_of_the_metrics(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    user = str(base.user_ids[base.ratings.users[0]])
    rated_item = str(base.catalogue.ids[base.ratings.items[0]])
    theirs = {item for name, item in pairs(base) if name == user}
    free = [str(item) for item in base.catalogue.ids if str(item) not in theirs][:3]
    store.add(
        feedback=[
            clicked(1, user, rated_item, "purchase", NOW - 9),  # rated: the rating counts
            clicked(2, user, free[0], "click", NOW - 8),
            clicked(3, user, free[0], "purchase", NOW - 7),
            clicked(4, user, free[0], "click", NOW - 6),
            clicked(5, user, free[1], "click", NOW - 5),
            clicked(6, "anonymous-1", free[1], "click", NOW - 5),
            clicked(7, "stranger", free[2], "click", NOW + 999),
            clicked(8, user, free[2], "impression", NOW - 4),
        ]
    )
    url = str(tmp_path / "events.db")
    plain = merge_served(base, read_served(url, base.ratings.scale, now=NOW))
    assert plain.positives is not None  # without metrics: clicks alone
    assert plain.positives.values.tolist() == [5.0, 5.0]
    events = {"click": {"weight": 1, "at_least": None}, "purchase": {"weight": 4, "at_least": None}}
    store.append("metrics", "main", {"metrics": measured(events)})
    merged = merge_served(base, read_served(url, base.ratings.scale, now=NOW))
    liked = merged.positives
    assert liked is not None
    worth = {free[0]: 5.0, free[1]: 0.5 + 4.5 / 4}
    result = {str(merged.catalogue.ids[i]): float(v) for i, v in zip(liked.items, liked.values, strict=True)}
    assert result == worth
    assert pairs(merged) == pairs(base)
    assert merged.lineage is not None
    assert (merged.lineage["positives"], merged.lineage["unused"]) == (
        2,
        {"anonymous session": 1, "time in the future": 1},
    )
    assert merged.sha256 != plain.sha256
    both = with_positives(merged.ratings, liked)
    seen = ListData(both).rated[:, [list(merged.catalogue.ids).index(item) for item in free[:2]]]
    row = list(merged.user_ids).index(user)
    # A purchase is worth the highest rating, a click a quarter of the way up to it.
    assert seen[row].toarray()[0].tolist() == [2.0, 1.25]


def test_items_added_through_the_service_bring_titles_genres_and_features(
    store: EventStore, base: Dataset, tmp_path: Path
) -> None:
    cells: dict[str, Any] = {"price": [float(row) for row in range(40)], "language": ["en", "fr"] * 20}
    featured = with_features(base, cells)
    now: dict[str, dict[str, Any]] = {
        "n1": {"title": "New (2030)", "genres": ["Opera"], "features": {"price": 3, "studio": "A"}},
        "n2": {"title": "Hidden", "hidden": True},
        "n3": {"title": "Odd", "features": {"price": "cheap", "studio": "A"}},
        "i4": {"genres": ["Opera"], "features": {"language": "fr", "studio": "B"}},
        "i5": {"features": {"studio": "B"}, "hidden": True},
    }
    save_items(store, [ItemChange(name, fields) for name, fields in now.items()], actor="a")
    url = str(tmp_path / "events.db")
    merged = merge_served(featured, read_served(url, base.ratings.scale, now=NOW))
    assert merged.catalogue.ids[40:].tolist() == ["n1", "n3"]  # hidden and never rated: left out
    assert (merged.catalogue.titles[40], merged.catalogue.genres[40]) == ("New (2030)", ("Opera",))
    assert merged.catalogue.genres[4] == ("Opera",)
    assert merged.has_new_items
    assert merged.lineage is not None
    assert merged.lineage["new_items"] == 2
    assert merged.lineage["unused"] == {"features of another kind": 1}
    features, encoder = merged.item_features, merged.item_encoder
    assert features is not None
    assert encoder is not None
    assert encoder.genres == tuple(sorted({*base.catalogue.genre_names(), "Opera"}))
    assert [column.name for column in encoder.further.columns] == ["price", "language", "studio"]
    assert features.shape == (42, encoder.width)
    old = featured.item_features
    assert old is not None
    price = features[:, -5]
    np.testing.assert_array_equal(price[:40], old[:, -3])
    assert price[40] == old[3, -3]
    assert price[41] == 0  # "cheap" is no price
    assert features[[40, 41, 4, 5, 6], -2:].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]
    assert features[4, -4:-2].tolist() == [0, 1]
    later = f"{url}#0,{merged.lineage['item_watermark']}"
    save_items(store, [ItemChange("n9", {"title": "Later"})], actor="a")
    again = merge_served(featured, read_served(later, base.ratings.scale, now=NOW))
    assert again.sha256 == merged.sha256
    assert len(merge_served(featured, read_served(url, base.ratings.scale, now=NOW)).catalogue) == 43


def test_events_of_another_catalogue_are_refused(store: EventStore, base: Dataset, tmp_path: Path) -> None:
    url = str(tmp_path / "events.db")
    store.add(feedback=[rated(n, f"u{n}", f"tt{n:07}", 3.0, NOW - n) for n in range(1, 30)])
    with pytest.raises(InputError, match=r"none of the 29 items .*another catalogue"):
        merge_served(base, read_served(url, base.ratings.scale, now=NOW))
    store.add(feedback=[rated(99, "u1", "i1", 3.0, NOW - 1)])
    merged = merge_served(base, read_served(url, base.ratings.scale, now=NOW))
    assert merged.lineage is not None
    assert merged.lineage["new_items"] == 29
