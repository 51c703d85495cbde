"""Ratings given through the service, read from its event store, merged with a run's training data.

The event store is read by plain SQL over the columns of ``serving/events/event_tables.py``, so that the
search can train on served ratings without importing the server. Per user and item the newest rating stays
(a served one wins a tie); everything left out is counted by reason.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.pseudonyms import KEY_VARIABLE, fingerprint, pseudonym, pseudonym_key
from recsys.types import BoolArray

ROWS_AT_ONCE = 20_000
ANONYMOUS = "anonymous-"  # how the server names a session without a user id
EVENT_SCHEMA = "0004"  # the newest revision of serving/events/migrations that is read here
CLOCK_SLACK_SECONDS = 60.0  # a client's clock may be that far ahead
QUERY = """
SELECT f.seq, f.user_id, f.item_id, f.value, f.at, e.items
FROM feedback AS f LEFT JOIN exposures AS e ON e.exposure_id = f.exposure_id
WHERE f.kind = 'rating' AND f.value IS NOT NULL AND f.seq <= {watermark:d}
ORDER BY f.seq
"""
NO_WATERMARK = 2**62


@dataclass(frozen=True)
class ServedRatings:
    """Ratings from an event store, oldest row first.

    ``user_ids``, ``item_ids`` (n,) text; ``values`` (n,) stars; ``times`` (n,) Unix seconds; ``exposed`` (n,)
    True where one of our own lists showed the item before it was rated (a feedback loop). ``watermark`` is
    the last row read, ``left_out`` counts rows by reason, ``erased`` maps an erasure's subject (a
    ``pseudonym`` under ``key``) to its time.
    """

    user_ids: NDArray[np.str_]
    item_ids: NDArray[np.str_]
    values: NDArray[np.float32]
    times: NDArray[np.int64]
    exposed: BoolArray
    watermark: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    erased: dict[str, float] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False)

    def __len__(self) -> int:
        return len(self.values)

    def erased_at(self, user_id: str) -> float:
        """Unix seconds of the person's last erasure, -inf without one."""
        return _erased_at(user_id, self.erased, self.key)


def split_source(source: str) -> tuple[str, str] | None:
    """``RUN+EVENTS`` as its two parts, None where ``source`` is no such pair (or a file of that name)."""
    if "+" not in source or source.startswith("synthetic:") or Path(source).exists():
        return None
    run, _, events = source.partition("+")
    return (run, events) if run and events else None


def split_watermark(events: str) -> tuple[str, int]:
    """``EVENTS#17`` as the store and the last row to read (``NO_WATERMARK`` where none is named)."""
    url, mark, number = events.rpartition("#")
    if not mark or not number.isdecimal() or Path(events).exists():
        return events, NO_WATERMARK
    return url, int(number)


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
) -> ServedRatings:
    """Every usable rating of an event store.

    Left out and counted: ratings outside ``scale`` or from the future, rows without a person (anonymous
    sessions) or an item, testers (overrides of any experiment), and what a person gave before an erasure.

    Args:
        url: the server's ``--events``; with ``#N`` after it, rows up to the N-th alone, so that the same
            ratings can be read again while the store grows.
        scale: the base data's rating scale, in stars.
        now: Unix seconds; the clock's where None.

    Raises:
        InputError: there is no store, it is not one of ours, it is of a newer schema, or its erasures were
            named with another key.
    """
    url, until = split_watermark(url)
    latest = (time.time() if now is None else now) + CLOCK_SLACK_SECONDS
    kept: list[tuple[str, str, float, float, bool]] = []
    left_out: dict[str, int] = {}
    watermark = 0
    engine = open_events(url)
    try:
        with engine.connect() as connection:
            _require_known_schema(connection)
            erased, key = _erasures(connection, url)
            testers = _testers(connection)
            for row in _rating_rows(connection, until):
                seq, user, item, value, at, items = row
                watermark = seq
                reason = _reason(user, item, value, at, scale, latest)
                if not reason and user in testers:
                    reason = "tester"
                if not reason and erased and at <= _erased_at(user, erased, key):
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
        key=key,
    )


def _erased_at(user_id: str, erased: dict[str, float], key: bytes) -> float:
    """As ``ServedRatings.erased_at``. Stores of before keyed names have a plain SHA-256 as subject."""
    if not erased:
        return -np.inf
    plain = hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()
    return max(erased.get(pseudonym(user_id, key), -np.inf), erased.get(plain, -np.inf))


def _require_known_schema(connection: Connection) -> None:
    """Raises InputError for a store that a newer server made; one of before versions has no version."""
    if not inspect(connection).has_table("alembic_version"):
        return
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and version > EVENT_SCHEMA:
        raise InputError(
            f"the event store has schema {version}, this program reads up to {EVENT_SCHEMA}: it is newer; "
            "upgrade this one"
        )


def _erasures(connection: Connection, url: str) -> tuple[dict[str, float], bytes]:
    """When whom was erased, and the key of their names (empty where nobody was)."""
    rows = connection.execute(
        text("SELECT subject, at, data FROM journal WHERE kind = 'erasure' ORDER BY at")
    )
    erased: dict[str, float] = {}
    key = b""
    for subject, at, data in rows:
        key = key or pseudonym_key(url)
        if json.loads(data).get("key", fingerprint(key)) != fingerprint(key):
            raise InputError(
                "the store's erasures were named with another key: give the server's key file beside the "
                f"store, or its {KEY_VARIABLE}, or erased people would be trained on"
            )
        erased[subject] = float(at)
    return erased, key


def _testers(connection: Connection) -> set[str]:
    rows = connection.execute(text("SELECT state FROM experiments"))
    return {user for (state,) in rows for user in json.loads(state).get("overrides", {})}


def _rating_rows(
    connection: Connection, until: int
) -> Iterator[tuple[int, str, str, float, float, str | None]]:
    """Rows of ``QUERY`` in bounded memory, by the driver's own cursor."""
    driver: Any = connection.connection
    cursor = driver.cursor(name="served") if connection.dialect.name == "postgresql" else driver.cursor()
    try:
        cursor.execute(QUERY.format(watermark=until))
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
