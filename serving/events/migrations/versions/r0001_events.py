"""Exposures, feedback, experiments and journal. Stores of before revisions have them already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "exposures",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("exposure_id", sa.Text, nullable=False, unique=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("experiment", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("release_id", sa.Text, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.Column("predicted", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("milliseconds", sa.Double, nullable=False),
        sa.Column("shadow", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_table(
        "feedback",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        sa.Column("exposure_id", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("predicted", sa.Double),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_table(
        "experiments",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "journal",
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    for name, table, columns in (
        ("exposures_at", "exposures", ["at"]),
        ("exposures_user", "exposures", ["user_id"]),
        ("feedback_at", "feedback", ["at"]),
        ("feedback_user", "feedback", ["user_id"]),
        ("feedback_exposure", "feedback", ["exposure_id"]),
        ("journal_kind", "journal", ["kind", "subject"]),
    ):
        op.create_index(name, table, columns, if_not_exists=True)
