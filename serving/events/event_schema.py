"""The event store's schema version: older stores are upgraded, newer ones refused.

The version is Alembic's (``alembic_version``); a store without one has the tables of revision 0001. Columns
are only added, and nullable: servers of the previous version keep writing while another upgrades the store.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from recsys.errors import InputError

HEAD = "0004"  # the newest revision in migrations/versions
SCRIPTS = Path(__file__).resolve().parent / "migrations"


def stored_version(connection: Connection) -> str | None:
    """The revision of a store; None for an empty store, or one without a version."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def needs_upgrade(connection: Connection) -> bool:
    """Whether a store needs an upgrade.

    Raises:
        InputError: the store has a newer schema.
    """
    version = stored_version(connection)
    if version is None or version < HEAD:
        return True
    if version > HEAD:
        raise InputError(
            f"the event store has schema {version}, this program supports up to {HEAD}: upgrade the program, "
            "or name another --events"
        )
    return False


def upgrade(connection: Connection) -> None:
    """Upgrade a store to ``HEAD``, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
