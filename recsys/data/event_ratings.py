"""Ratings and other feedback of a service's event store, as training data.

Rows that cannot be trained on (anonymous sessions, testers, erased people, ratings outside the scale) are
counted by reason.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, inspect, text

from recsys.data.event_items import ServedItems, read_served_items
from recsys.data.event_rows import EventRows, read_event_rows
from recsys.data.event_store import ANONYMOUS, CLOCK_SLACK_SECONDS, event_connection, split_watermark
from recsys.data.ratings import RatingScale
from recsys.erasure_ledger import Erasure, read_ledger
from recsys.errors import InputError
from recsys.pseudonyms import KEY_VARIABLE, fingerprint, pseudonym, pseudonym_key
from recsys.types import BoolArray, JsonObject

CLICKS = {"click": 1.0}  # what an experiment without metrics counts beside ratings


@dataclass(frozen=True, eq=False)
class ServedPairs:
    """What people did with items, oldest row first.

    ``users``, ``items`` (n,) index ``user_names``, ``item_names``; ``values`` (n,) stars, or what an event is
    worth in (0, 1]; ``times`` (n,) Unix seconds; ``propensities`` (n,) with which one of our own lists held
    the item before (a feedback loop), NaN where none did.
    """

    user_names: list[str]
    item_names: list[str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64]
    propensities: NDArray[np.float32]

    @classmethod
    def of(cls, rows: EventRows, chosen: NDArray[np.int64], values: NDArray[np.float32]) -> ServedPairs:
        """The rows ``chosen`` (n,), worth ``values`` (n,); names in the order in which they come."""
        user_names, users = _renamed(rows.user_names, rows.users[chosen])
        item_names, items = _renamed(rows.item_names, rows.items[chosen])
        times = rows.times[chosen].astype(np.int64)
        return cls(user_names, item_names, users, items, values, times, rows.propensities[chosen])

    def __len__(self) -> int:
        return len(self.values)

    @property
    def user_ids(self) -> list[str]:
        """Of each row."""
        return [self.user_names[user] for user in self.users.tolist()]

    @property
    def item_ids(self) -> list[str]:
        """Of each row."""
        return [self.item_names[item] for item in self.items.tolist()]

    @property
    def exposed(self) -> BoolArray:
        """(n,) where one of our own lists held the item."""
        return ~np.isnan(self.propensities)


@dataclass(frozen=True, eq=False)
class ServedRatings:
    """What an event store adds to the data of a run.

    ``ratings`` in stars; ``positives`` of other kinds, worth their weight in the experiment's metrics;
    ``catalogue`` what was set of items. ``watermark`` is the last row read, ``left_out`` counts ratings by
    reason and ``unused`` other events, ``erased`` maps an erasure's subject (a ``pseudonym`` under ``key``)
    to its time.
    """

    ratings: ServedPairs
    positives: ServedPairs
    catalogue: ServedItems = field(default_factory=ServedItems)
    watermark: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    erased: dict[str, float] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False)

    def __len__(self) -> int:
        return len(self.ratings)

    def erased_at(self, user_id: str) -> float:
        """Unix seconds of the person's last erasure, -inf without one."""
        return _erased_at(user_id, self.erased, self.key)


def read_served(
    url: str, scale: RatingScale, *, now: float | None = None, folder: Path | None = None
) -> ServedRatings:
    """Every usable rating of an event store, what other events are worth, and its catalogue.

    Left out and counted: ratings outside ``scale``, rows from the future, without a person (anonymous
    sessions) or an item, testers (overrides of any experiment), and what a person gave before an erasure.

    Args:
        url: the server's ``--events``; with ``#N`` after it, rows up to the N-th alone, and with ``#N,M``
            changes of items up to the M-th, so that the same can be read again while the store grows.
        scale: the base data's rating scale, in stars.
        now: Unix seconds; the clock's where None.
        folder: where rows are kept while they are read, so that a reading that was killed goes on.

    Raises:
        InputError: there is no store, it is not one of ours, it is of a newer schema, or its erasures were
            named with another key.
    """
    marks = split_watermark(url)
    latest = (time.time() if now is None else now) + CLOCK_SLACK_SECONDS
    with event_connection(marks.url) as connection:
        weights = _event_weights(connection)
        rows = read_event_rows(
            connection,
            ("rating", *weights),
            until=marks.feedback,
            has_propensities=_has_propensities(connection),
            folder=folder,
        )
        erased, key = _erasures(connection, marks.url)
        testers = _testers(connection)
        catalogue = read_served_items(connection, until=marks.items)
    erased_at = np.array([_erased_at(name, erased, key) for name in rows.user_names] or [0.0])
    exclusions = {
        "anonymous session": _of_users(rows, lambda name: not name or name.startswith(ANONYMOUS)),
        "no item": ~np.array([bool(name) for name in rows.item_names] or [False])[rows.items],
        "time in the future": rows.times > latest,
        "tester": _of_users(rows, testers.__contains__),
        "erased person": rows.times <= erased_at[rows.users],
    }
    kind_weights = np.array([weights.get(kind, 0.0) for kind in rows.kind_names] or [0.0], dtype=np.float32)
    is_rating = np.array([kind == "rating" for kind in rows.kind_names] or [False])[rows.kinds]
    outside = {"outside the scale": ~((rows.values >= scale.low) & (rows.values <= scale.high))}
    first = {name: exclusions.pop(name) for name in ("anonymous session", "no item")}
    ratings, left_out = _usable(is_rating, first | outside | exclusions)
    positives, unused = _usable(~is_rating, first | exclusions)
    return ServedRatings(
        ratings=ServedPairs.of(rows, ratings, rows.values[ratings]),
        positives=ServedPairs.of(rows, positives, kind_weights[rows.kinds[positives]]),
        catalogue=catalogue,
        watermark=rows.last,
        left_out=left_out,
        unused=unused,
        erased=erased,
        key=key,
    )


def _usable(
    candidates: BoolArray, exclusions: Mapping[str, BoolArray]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Rows that are ``candidates`` and not ``exclusions``, and the others counted by their first reason."""
    left_out: dict[str, int] = {}
    usable = candidates.copy()
    for reason, rows in exclusions.items():
        count = int((usable & rows).sum())
        if count:
            left_out[reason] = count
        usable &= ~rows
    return np.flatnonzero(usable), left_out


def _of_users(rows: EventRows, predicate: Callable[[str], bool]) -> BoolArray:
    """(n,) whether ``predicate`` is true of the row's person."""
    return np.array([predicate(name) for name in rows.user_names] or [False])[rows.users]


def _renamed(names: list[str], codes: NDArray[np.int32]) -> tuple[list[str], NDArray[np.int32]]:
    """The names that ``codes`` (n,) use, in the order in which they come, and their codes among those."""
    used, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(used), dtype=np.int32)
    rank[order] = np.arange(len(used))
    return [names[code] for code in used[order].tolist()], rank[inverse.reshape(-1)]


def _has_propensities(connection: Connection) -> bool:
    return any(column["name"] == "propensities" for column in inspect(connection).get_columns("exposures"))


def _event_weights(connection: Connection) -> dict[str, float]:
    """What each kind of feedback but ratings is worth in (0, 1], by the metrics of the experiments.

    Of several metrics the primary one counts, of several experiments the largest; clicks alone where no
    experiment has metrics."""
    rules: list[Mapping[str, JsonObject]] = []
    deployed = text("SELECT subject, data FROM journal WHERE kind = 'metrics' ORDER BY seq")
    changed = text("SELECT name, state FROM experiments ORDER BY name, revision")
    measured = {name: json.loads(data)["metrics"] for name, data in connection.execute(deployed)}
    newest = {name: json.loads(state) for name, state in connection.execute(changed)}
    measured |= {name: state["metrics"] for name, state in newest.items() if state.get("metrics")}
    for metrics in measured.values():
        primary = metrics.get(metrics.get("primary", ""))
        metric_rules = metrics.values() if primary is None else [primary]
        rules += [rule["events"] for rule in metric_rules if isinstance(rule, dict)]
    weights: dict[str, float] = {}
    for events in rules:
        largest = max((float(rule["weight"]) for rule in events.values()), default=1.0)
        for kind, rule in events.items():
            share = float(rule["weight"]) / largest if largest > 0 else 0.0
            weights[kind] = max(weights.get(kind, 0.0), share)
    weights = {kind: share for kind, share in weights.items() if kind != "rating" and share > 0}
    return weights if rules else dict(CLICKS)


def _erased_at(user_id: str, erased: dict[str, float], key: bytes) -> float:
    """As ``ServedRatings.erased_at``. Stores of before keyed names have a plain SHA-256 as subject."""
    if not erased:
        return -np.inf
    plain = hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()
    return max(erased.get(pseudonym(user_id, key), -np.inf), erased.get(plain, -np.inf))


def _erasures(connection: Connection, url: str) -> tuple[dict[str, float], bytes]:
    """When whom was erased, as the store or the ledger beside it knows, and the key of their names (empty
    where nobody was)."""
    rows = connection.execute(
        text("SELECT subject, at, data FROM journal WHERE kind = 'erasure' ORDER BY at")
    )
    stored = [Erasure(subject, float(at), json.loads(data).get("key", "")) for subject, at, data in rows]
    erased: dict[str, float] = {}
    key = b""
    for erasure in (*stored, *read_ledger(url)):
        key = key or pseudonym_key(url)
        if erasure.key not in ("", fingerprint(key)):
            raise InputError(
                "the store's erasures were named with another key: give the server's key file beside the "
                f"store, or its {KEY_VARIABLE}, or erased people would be trained on"
            )
        erased[erasure.subject] = max(erasure.at, erased.get(erasure.subject, -np.inf))
    return erased, key


def _testers(connection: Connection) -> set[str]:
    rows = connection.execute(text("SELECT state FROM experiments"))
    return {user for (state,) in rows for user in json.loads(state).get("overrides", {})}
