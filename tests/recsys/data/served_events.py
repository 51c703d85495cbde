"""Made events of a service, and the ratings of a data set as a dictionary."""

from __future__ import annotations

from recsys.data.dataset import Dataset
from serving.domain import Exposure, Feedback

NOW = 2_000_000_000.0


def rated(
    number: int, user: str, item: str, value: float, at: float, exposure: str | None = None
) -> Feedback:
    return Feedback(f"e{number}", exposure, user, "rating", item, value, at)


def shown(name: str, user: str, items: tuple[str, ...]) -> Exposure:
    stars = tuple(3.0 for _ in items)
    return Exposure(name, NOW - 500, user, "main", "a", 1, "r", items, stars, "personal", 1.0)


def pairs(dataset: Dataset) -> dict[tuple[str, str], float]:
    users, items = dataset.user_ids, dataset.catalogue.ids
    rows = zip(dataset.ratings.users, dataset.ratings.items, dataset.ratings.values, strict=True)
    return {(str(users[user]), str(items[item])): float(value) for user, item, value in rows}
