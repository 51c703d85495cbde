"""Exposures hold the arm that brought each item of an interleaved list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("exposures", sa.Column("teams", sa.Text, nullable=True))
