"""Ratings given through the service, read from its event store, merged with a run's training data.

The event store is read by plain SQL over the columns of ``serving/events/event_tables.py``, so that the
search can train on served ratings without importing the server. Per user and item the newest rating stays
(a served one wins a tie); everything left out is counted by reason.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from recsys.data.dataset import Catalogue, Dataset
from recsys.data.fingerprint import columns_sha256
from recsys.data.ratings import Ratings, RatingScale
from recsys.errors import InputError
from recsys.types import BoolArray, JsonObject

ROWS_AT_ONCE = 20_000
ORIGINS = ("base", "served", "served after our list")
ANONYMOUS = "anonymous-"  # how the server names a session without a user id
CLOCK_SLACK_SECONDS = 60.0  # a client's clock may be that far ahead
QUERY = """
SELECT f.seq, f.user_id, f.item_id, f.value, f.at, e.items
FROM feedback AS f LEFT JOIN exposures AS e ON e.exposure_id = f.exposure_id
WHERE f.kind = 'rating' AND f.value IS NOT NULL
ORDER BY f.seq
"""


@dataclass(frozen=True)
class ServedRatings:
    """Ratings from an event store, oldest row first.

    ``user_ids``, ``item_ids`` (n,) text; ``values`` (n,) stars; ``times`` (n,) Unix seconds; ``exposed`` (n,)
    True where one of our own lists showed the item before it was rated (a feedback loop). ``watermark`` is
    the last row read, ``left_out`` counts rows by reason, ``erased`` maps an erasure's subject to its time.
    """

    user_ids: NDArray[np.str_]
    item_ids: NDArray[np.str_]
    values: NDArray[np.float32]
    times: NDArray[np.int64]
    exposed: BoolArray
    watermark: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    erased: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


def erasure_subject(user_id: str) -> str:
    """How an erasure in the journal names a person: a hash of the id."""
    return hashlib.sha256(user_id.encode()).hexdigest()


def split_source(source: str) -> tuple[str, str] | None:
    """``RUN+EVENTS`` as its two parts, None where ``source`` is no such pair (or a file of that name)."""
    if "+" not in source or source.startswith("synthetic:") or Path(source).exists():
        return None
    run, _, events = source.partition("+")
    return (run, events) if run and events else None


def open_events(url: str) -> Engine:
    """A read-only view of an event store: a SQLite file, ``sqlite:///path`` or ``postgresql://...``.

    Raises:
        InputError: there is no such store, or its address is not understood.
    """
    if "://" not in url:
        url = f"sqlite:///{Path(url).absolute()}"
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 5}
            )
        if parsed.get_backend_name() != "sqlite":
            raise ArgumentError
    except (SQLAlchemyError, ModuleNotFoundError):
        raise InputError(
            f"cannot read events from {url.split('@')[-1]!r}; expected a file, sqlite:///path, or "
            "postgresql://user@host/database with the extra `postgres` installed"
        ) from None
    path = Path(str(parsed.database))
    if not path.is_file():
        raise InputError(f"no event store at {path}; give the server's own --events")
    return create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")


def read_served(
    url: str,
    scale: RatingScale,
    *,
    now: float | None = None,
    subject_of: Callable[[str], str] = erasure_subject,
) -> ServedRatings:
    """Every usable rating of an event store.

    Left out and counted: ratings outside ``scale`` or from the future, rows without a person (anonymous
    sessions) or an item, testers (overrides of any experiment), and what a person gave before an erasure.

    Args:
        url: the server's ``--events``.
        scale: the base data's rating scale, in stars.
        now: Unix seconds; the clock's where None.
        subject_of: the journal's name for a person who was erased.

    Raises:
        InputError: there is no store, or it is not one of ours.
    """
    latest = (time.time() if now is None else now) + CLOCK_SLACK_SECONDS
    kept: list[tuple[str, str, float, float, bool]] = []
    left_out: dict[str, int] = {}
    watermark = 0
    engine = open_events(url)
    try:
        with engine.connect() as connection:
            erased = _erasures(connection)
            testers = _testers(connection)
            for row in _rating_rows(connection):
                seq, user, item, value, at, items = row
                watermark = seq
                reason = _reason(user, item, value, at, scale, latest)
                if not reason and user in testers:
                    reason = "tester"
                if not reason and erased and at <= erased.get(subject_of(user), -np.inf):
                    reason = "erased person"
                if reason:
                    left_out[reason] = left_out.get(reason, 0) + 1
                    continue
                # The id is looked for as text first: parsing every list would cost more than all the rest.
                shown = items is not None and item in items and item in json.loads(items)
                kept.append((user, item, value, at, shown))
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise InputError(
            f"the events at {url.split('@')[-1]} cannot be read ({getattr(error, 'orig', error)}); "
            "expected a store that `python -m serving serve --events` wrote"
        ) from None
    finally:
        engine.dispose()
    users, item_ids, values, times, exposed = zip(*kept, strict=True) if kept else ((),) * 5
    return ServedRatings(
        user_ids=np.array(users, dtype=np.str_),
        item_ids=np.array(item_ids, dtype=np.str_),
        values=np.array(values, dtype=np.float32),
        times=np.array(times, dtype=np.float64).astype(np.int64),
        exposed=np.array(exposed, dtype=np.bool_),
        watermark=int(watermark),
        left_out=left_out,
        erased=erased,
    )


def _erasures(connection: Connection) -> dict[str, float]:
    rows = connection.execute(text("SELECT subject, at FROM journal WHERE kind = 'erasure' ORDER BY at"))
    return {subject: float(at) for subject, at in rows}


def _testers(connection: Connection) -> set[str]:
    rows = connection.execute(text("SELECT state FROM experiments"))
    return {user for (state,) in rows for user in json.loads(state).get("overrides", {})}


def _rating_rows(connection: Connection) -> Iterator[tuple[int, str, str, float, float, str | None]]:
    """Rows of ``QUERY`` in bounded memory, by the driver's own cursor."""
    driver: Any = connection.connection
    cursor = driver.cursor(name="served") if connection.dialect.name == "postgresql" else driver.cursor()
    try:
        cursor.execute(QUERY)
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield from rows
    finally:
        cursor.close()


def _reason(
    user: str | None, item: str | None, value: float, at: float, scale: RatingScale, latest: float
) -> str:
    """Why a row is left out, "" where it is not."""
    if not user or user.startswith(ANONYMOUS):
        return "anonymous session"
    if not item:
        return "no item"
    if not scale.low <= value <= scale.high:
        return "outside the scale"
    return "time in the future" if at > latest else ""


def merge_served(
    base: Dataset, served: ServedRatings, *, subject_of: Callable[[str], str] = erasure_subject
) -> Dataset:
    """``base`` with the served ratings in it: ``merge_with_origin`` without the origins."""
    return merge_with_origin(base, served, subject_of=subject_of)[0]


def merge_with_origin(
    base: Dataset, served: ServedRatings, *, subject_of: Callable[[str], str] = erasure_subject
) -> tuple[Dataset, NDArray[np.int8]]:
    """``base`` with the served ratings in it, and where each rating came from.

    Rows keep their base row numbers; new people and items come after them. Base ratings of people who were
    erased are left out. Side information of new rows is 0, their titles are empty.

    Args:
        base: the data that the earlier run was trained on.
        served: what ``read_served`` gave, on the same rating scale.
        subject_of: the journal's name for a person who was erased.

    Returns:
        The merged data set; its ``lineage`` holds ``base`` (sha256), ``watermark``, ``served``,
        ``from_our_lists`` (the share of served ratings whose item one of our lists had shown), ``new_users``,
        ``new_items``, ``left_out`` by reason. And (n,) an index into ``ORIGINS`` for each rating.
    """
    ratings = base.ratings
    user_ids, served_users = _extend(base.user_ids, served.user_ids)
    item_ids, served_items = _extend(base.catalogue.ids, served.item_ids)
    old_times = np.zeros(len(ratings), np.int64) if ratings.times is None else ratings.times
    users = np.concatenate([ratings.users, served_users])
    items = np.concatenate([ratings.items, served_items])
    values = np.concatenate([ratings.values, served.values])
    times = np.concatenate([old_times, served.times])
    is_served = np.concatenate([np.zeros(len(ratings), np.bool_), np.ones(len(served), np.bool_)])
    exposed = np.concatenate([np.zeros(len(ratings), np.bool_), served.exposed])

    left_out = dict(served.left_out)
    gone = np.zeros(len(users), np.bool_)
    if served.erased:
        until = np.array([served.erased.get(subject_of(str(name)), -np.inf) for name in base.user_ids])
        before = until[ratings.users] >= old_times
        gone[: len(ratings)] = before
        if before.any():
            left_out["base ratings of erased people"] = int(before.sum())
    # The newest of a pair is the last in (pair, time, origin) order; a stable sort keeps the rows' own order.
    pairs = users.astype(np.int64) * len(item_ids) + items
    order = np.lexsort((is_served, times, pairs))
    last = np.ones(len(order), np.bool_)
    last[:-1] = pairs[order[1:]] != pairs[order[:-1]]
    keep = np.zeros(len(order), np.bool_)
    keep[order[last]] = True
    left_out["rated again later"] = int((~keep & ~gone).sum())
    rows = np.flatnonzero(keep & ~gone)
    merged = Ratings(
        users=users[rows].astype(np.int32),
        items=items[rows].astype(np.int32),
        values=values[rows],
        times=times[rows],
        scale=ratings.scale,
        user_count=len(user_ids),
        item_count=len(item_ids),
    )
    new_items, new_users = len(item_ids) - len(base.catalogue), len(user_ids) - len(base.user_ids)
    taken = is_served[rows]
    lineage: JsonObject = {
        "base": base.sha256,
        "watermark": served.watermark,
        "served": int(taken.sum()),
        "from_our_lists": float(exposed[rows][taken].mean()) if taken.any() else None,
        "new_users": new_users,
        "new_items": new_items,
        "left_out": {reason: count for reason, count in left_out.items() if count},
    }
    dataset = replace(
        base,
        ratings=merged,
        user_ids=user_ids,
        catalogue=Catalogue(
            ids=item_ids,
            titles=[*base.catalogue.titles, *[""] * new_items],
            genres=[*base.catalogue.genres, *[()] * new_items],
        ),
        sha256=columns_sha256(merged, user_ids, item_ids),
        quality=replace(
            base.quality,
            rows=len(ratings) + len(served) + sum(served.left_out.values()),
            notes=(*base.quality.notes, *_notes(lineage)),
        ),
        user_features=_padded(base.user_features, new_users),
        item_features=_padded(base.item_features, new_items),
        source=f"{base.source}, and {int(taken.sum()):,} ratings given through the service",
        noise_floor=None,
        lineage=lineage,
    )
    return dataset, (is_served.astype(np.int8) + exposed)[rows]


def _notes(lineage: JsonObject) -> list[str]:
    """What a report says of served ratings: how many, how many by our own lists, what stayed out."""
    notes = [f"{lineage['served']:,} ratings were given through the service"]
    if lineage["from_our_lists"] is not None:
        notes[0] += f", {lineage['from_our_lists']:.0%} of them for items that our own lists had shown"
    return notes + [f"{count:,} left out: {reason}" for reason, count in lineage["left_out"].items()]


def _extend(ids: NDArray[np.str_], more: NDArray[np.str_]) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """``ids`` with those of ``more`` that they lack, and (n,) the row of each of ``more``."""
    row_of = {str(name): row for row, name in enumerate(ids.tolist())}
    rows = np.empty(len(more), np.int32)
    for position, name in enumerate(more.tolist()):
        rows[position] = row_of.setdefault(name, len(row_of))
    extended = np.array(list(row_of), dtype=np.str_) if len(row_of) > len(ids) else ids
    return extended, rows


def _padded(features: NDArray[np.float32] | None, rows: int) -> NDArray[np.float32] | None:
    if features is None or not rows:
        return features
    return np.concatenate([features, np.zeros((rows, features.shape[1]), np.float32)])
