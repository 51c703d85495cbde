"""Exposures hold the probability with which each item stood in its place; null in rows of before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("exposures", sa.Column("propensities", sa.Text, nullable=True))
