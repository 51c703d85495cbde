"""Read-only connections to a service's event store, and how far a reading of it goes.

The store is read by plain SQL over the columns of ``serving/events/event_tables.py``, so that the search can
train on served ratings without importing the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from recsys.errors import InputError

EVENT_SCHEMA = "0004"  # the newest revision of serving/events/migrations that is read here
NO_WATERMARK = 2**62
ANONYMOUS = "anonymous-"  # beginning of the user ids that the server gives to sessions without one
CLOCK_SLACK_SECONDS = 60.0  # by which a client's clock may be ahead


@dataclass(frozen=True)
class EventMarks:
    """``url`` of an event store, and the last rows of ``feedback`` and ``items`` that are read."""

    url: str
    feedback: int = NO_WATERMARK
    items: int = NO_WATERMARK

    def __str__(self) -> str:
        return f"{self.url}#{self.feedback},{self.items}"


def split_source(source: str) -> tuple[str, str] | None:
    """The run and the event store of ``RUN+EVENTS``.

    Args:
        source: What ``--data`` was given.

    Returns:
        Both parts; None for any other source, or a file of that name.
    """
    if "+" not in source or source.startswith("synthetic:") or Path(source).exists():
        return None
    run, _, events = source.partition("+")
    return (run, events) if run and events else None


def split_watermark(events: str) -> EventMarks:
    """The store and the last rows to read of ``EVENTS#17`` (feedback) or ``EVENTS#17,4`` (also items).

    Args:
        events: A store's file or URL, with or without row numbers.
    """
    url, mark, numbers = events.rpartition("#")
    parts = numbers.split(",")
    if not mark or len(parts) > 2 or not all(part.isdecimal() for part in parts) or Path(events).exists():
        return EventMarks(events)
    return EventMarks(url, *map(int, parts))


def current_marks(url: str) -> EventMarks:
    """The store with its newest rows, so that the same rows can be read again while it grows.

    Args:
        url: A store's file or URL; row numbers that it already names are upper limits.

    Raises:
        InputError: As ``event_connection``.
    """
    marks = split_watermark(url)
    with event_connection(marks.url) as connection:
        feedback = connection.scalar(text("SELECT MAX(seq) FROM feedback")) or 0
        items = 0
        if inspect(connection).has_table("items"):
            items = connection.scalar(text("SELECT MAX(seq) FROM items")) or 0
    return EventMarks(marks.url, min(marks.feedback, feedback), min(marks.items, items))


@contextmanager
def event_connection(url: str) -> Iterator[Connection]:
    """A read-only connection to an event store.

    Args:
        url: A SQLite file, ``sqlite:///path`` or ``postgresql://...``.

    Raises:
        InputError: There is no such store, its address is not understood, it cannot be read, or its schema
            is newer than ``EVENT_SCHEMA``.
    """
    engine = _read_only_engine(url)
    try:
        with engine.connect() as connection:
            _check_schema(connection)
            yield connection
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise InputError(
            f"the events at {without_credentials(url)} cannot be read ({getattr(error, 'orig', error)}); "
            "expected a store that `python -m serving serve --events` wrote"
        ) from None
    finally:
        engine.dispose()


def parse_address(address: str) -> URL:
    """An event store's file or URL as SQLAlchemy's: SQLite, or PostgreSQL by psycopg.

    Args:
        address: A file, ``sqlite:///path`` or ``postgresql://...``.

    Raises:
        ArgumentError, NoSuchModuleError: Anything else.
    """
    url = make_url(address if "://" in address else f"sqlite:///{Path(address).absolute()}")
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        raise ArgumentError
    return url


def without_credentials(address: str) -> str:
    """An address without user and password.

    Args:
        address: A file or URL.
    """
    return address.split("@")[-1]


def _read_only_engine(url: str) -> Engine:
    try:
        parsed = parse_address(url)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(parsed, connect_args={"connect_timeout": 5})
    except (SQLAlchemyError, ModuleNotFoundError):
        raise InputError(
            f"cannot read events from {without_credentials(url)!r}; expected a file, sqlite:///path, or "
            "postgresql://user@host/database with the extra `postgres` installed"
        ) from None
    path = Path(str(parsed.database))
    if not path.is_file():
        raise InputError(f"no event store at {path}; give the server's own --events")
    return create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")


def _check_schema(connection: Connection) -> None:
    """Raises InputError for a store that a newer server wrote; before migrations there was no version."""
    if not inspect(connection).has_table("alembic_version"):
        return
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and version > EVENT_SCHEMA:
        raise InputError(
            f"the event store has schema {version}, this program reads up to {EVENT_SCHEMA}: it is newer; "
            "upgrade this one"
        )
