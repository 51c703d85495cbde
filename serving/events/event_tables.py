"""The event store's tables, the same in SQLite and PostgreSQL.

``migrations/`` creates them: a change here needs a revision there (tests/serving/events/test_migrations.py
compares the two).

Rows are appended, never updated: a new state of an experiment is a row with the next revision, so that the
primary key is the compare-and-set and older rows are the history. ``seq`` grows with every commit (see
``store.py`` for PostgreSQL), so a reader that remembers the last one misses nothing. Lists are JSON text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()
# SQLite gives rowids only to "INTEGER PRIMARY KEY", PostgreSQL's plain integer ends at 2 billion.
SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("exposure_id", Text, nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("release_id", Text, nullable=False),
    Column("items", Text, nullable=False),
    Column("predicted", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("milliseconds", Double, nullable=False),
    Column("shadow", Boolean, nullable=False),
    Column("propensities", Text),
    Column("teams", Text),
    Index("exposures_at", "at"),
    Index("exposures_user", "user_id"),
    sqlite_autoincrement=True,
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("exposure_id", Text),
    Column("user_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("item_id", Text),
    Column("value", Double),
    Column("at", Double, nullable=False),
    Column("predicted", Double),
    Index("feedback_at", "at"),
    Index("feedback_user", "user_id"),
    Index("feedback_exposure", "exposure_id"),
    sqlite_autoincrement=True,
)

EXPERIMENTS = Table(
    "experiments",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("state", Text, nullable=False),
)

JOURNAL = Table(
    "journal",
    METADATA,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index("journal_kind", "kind", "subject"),
    sqlite_autoincrement=True,
)

ITEMS = Table(
    "items",
    METADATA,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("item_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    UniqueConstraint("item_id", "revision"),
    sqlite_autoincrement=True,
)

RULES = Table(
    "rules",
    METADATA,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
)
