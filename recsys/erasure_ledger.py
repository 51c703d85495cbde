"""Who was erased from an event store, kept beside it: a backup that is restored does not know.

One JSON line an erasure in ``events.db.erasures`` (``runs/events.erasures`` for a database elsewhere), of
pseudonyms alone (``recsys.pseudonyms``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from recsys.io import append_line, iter_lines
from recsys.pseudonyms import key_path


@dataclass(frozen=True)
class Erasure:
    """``subject`` is the person's pseudonym under the key of the fingerprint ``key`` ("": a plain SHA-256);
    ``at`` Unix seconds."""

    subject: str
    at: float
    key: str


def ledger_path(events: str) -> Path:
    """Of an event store's file or URL."""
    return key_path(events).with_suffix(".erasures")


def read_ledger(events: str) -> list[Erasure]:
    """The erasures of the store ``events``, oldest first; a line cut short by a kill is passed over."""
    database = _database(events)
    return [
        Erasure(str(row["subject"]), float(row["at"]), str(row["key"]))
        for row, _ in iter_lines(ledger_path(events))
        if row.get("database") == database
    ]


def append_to_ledger(events: str, erasures: list[Erasure]) -> None:
    """Synced before it returns. Raises OSError."""
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
