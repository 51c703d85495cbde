"""The ledger of erasures beside an event store, which survives a restore from a backup.

One JSON line per erasure in ``events.db.erasures`` (``runs/events.erasures`` for a remote database), with
pseudonyms only (``recsys.pseudonyms``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from recsys.io import append_line, iter_lines
from recsys.pseudonyms import key_path


@dataclass(frozen=True)
class Erasure:
    """One erased user.

    Attributes:
        subject: Their pseudonym.
        at: Unix seconds.
        key: Fingerprint of the key that made the pseudonym; "" for a plain SHA-256.
    """

    subject: str
    at: float
    key: str


def ledger_path(events: str) -> Path:
    """The ledger of an event store.

    Args:
        events: The store's file or URL.
    """
    return key_path(events).with_suffix(".erasures")


def read_ledger(events: str) -> list[Erasure]:
    """The erasures of an event store, oldest first; a line cut short by a kill is skipped.

    Args:
        events: The store's file or URL.
    """
    database = _database(events)
    return [
        Erasure(str(row["subject"]), float(row["at"]), str(row["key"]))
        for row, _ in iter_lines(ledger_path(events))
        if row.get("database") == database
    ]


def append_to_ledger(events: str, erasures: list[Erasure]) -> None:
    """Appends erasures; they are on the disk when this returns.

    Args:
        events: The store's file or URL.
        erasures: To record.

    Raises:
        OSError: A full disk, or no permission.
    """
    path = ledger_path(events)
    for erasure in erasures:
        path.touch(mode=0o600)
        append_line(path, asdict(erasure) | {"database": _database(events)})


def _database(events: str) -> str:
    """Tells the databases apart that share a ledger, "" for a file; without names and passwords."""
    if "://" not in events.removeprefix("sqlite:///"):
        return ""
    url = make_url(events)
    return f"{url.host or ''}:{url.port or ''}/{url.database or ''}"
