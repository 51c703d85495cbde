"""The event store's schema version: older stores are brought up, newer ones are refused.

The version is Alembic's (``alembic_version``); a store made before versions were kept has the tables of
revision 0001 and no version. Columns are only ever added, and nullable: a server of the version before goes
on writing while another brings the store up.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from recsys.errors import InputError

HEAD = "0004"  # the newest revision in migrations/versions
SCRIPTS = Path(__file__).resolve().parent / "migrations"


def stored_version(connection: Connection) -> str | None:
    """The revision that a store is at; None for an empty store, or one of before versions were kept."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def needs_upgrade(connection: Connection) -> bool:
    """Whether revisions are missing in a store.

    Raises:
        InputError: the store was made or brought up by a newer program.
    """
    version = stored_version(connection)
    if version is None or version < HEAD:
        return True
    if version > HEAD:
        raise InputError(
            f"the event store has schema {version}, this program knows up to {HEAD}: it is of a newer "
            "version; upgrade this one, or name another --events"
        )
    return False


def upgrade(connection: Connection) -> None:
    """Bring a store up to ``HEAD``, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
