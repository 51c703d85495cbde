"""Repeats erasures in an event store that was restored from an older backup.

The store's own journal of erasures is as old as the backup; the ledger next to the store
(``recsys.erasure_ledger``) has the later ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from sqlalchemy import and_, select

from recsys.erasure_ledger import Erasure, append_to_ledger, read_ledger
from recsys.errors import InputError
from recsys.pseudonyms import KEY_VARIABLE, fingerprint, pseudonym, pseudonym_key
from serving.events.event_tables import EXPOSURES, FEEDBACK
from serving.events.store import EventStore
from serving.events.tester_overrides import erase_overrides

log = logging.getLogger(__name__)


def journal_erasures(store: EventStore) -> list[Erasure]:
    """Erasures in the store's journal, oldest first."""
    return [
        Erasure(entry.subject, entry.at, entry.data.get("key", "")) for entry in store.journal(kind="erasure")
    ]


def erased_by(store: EventStore) -> Callable[[str, float], bool]:
    """A function of a user's id and an event's time: whether an erasure since covers the event."""
    until: dict[str, float] = {}
    for erasure in (*journal_erasures(store), *read_ledger(store.url)):
        until[erasure.subject] = max(erasure.at, until.get(erasure.subject, 0.0))
    if not until:
        return lambda user_id, at: False
    key = pseudonym_key(store.url)
    return lambda user_id, at: at <= until.get(pseudonym(user_id, key), -1.0)


def repeat_erasures(store: EventStore, *, events: str | None = None) -> dict[str, int]:
    """Synchronise the erasures of a store and its ledger; called when a server starts.

    Args:
        store: an event store with its tables.
        events: the store whose ledger and key are used, by default ``store`` itself.

    Returns:
        Rows deleted by table; {} where no erasure was missing.

    Raises:
        InputError: users were erased under another key, so that they cannot be found.
    """
    events = events or store.url
    journalled, recorded = journal_erasures(store), read_ledger(events)
    missing = [erasure for erasure in recorded if erasure not in journalled]
    deleted = erase_again(store, missing, pseudonym_key(events)) if missing else {}
    try:
        append_to_ledger(events, [erasure for erasure in journalled if erasure not in recorded])
    except OSError as error:
        log.error("the erasure ledger cannot be written: %s", error.strerror)
    return deleted


def erase_again(store: EventStore, missing: Sequence[Erasure], key: bytes) -> dict[str, int]:
    """Delete the rows of ``missing`` erasures up to their time, and journal it.

    Raises:
        InputError: as ``repeat_erasures``.
    """
    if any(erasure.key not in ("", fingerprint(key)) for erasure in missing):
        raise InputError(
            "the event store is older than erasures under another key, whose users cannot be found: restore "
            f"the key file of that time next to the store, or set {KEY_VARIABLE}"
        )
    until: dict[str, float] = {}
    for erasure in missing:
        until[erasure.subject] = max(erasure.at, until.get(erasure.subject, 0.0))
    deleted = {table.name: 0 for table in (EXPOSURES, FEEDBACK)} | {"overrides": 0}
    users: set[str] = set()
    for table in (EXPOSURES, FEEDBACK):
        with store.engine.connect() as connection:
            names = connection.execute(select(table.c.user_id).distinct()).scalars().all()
        for user_id in names:
            at = until.get(pseudonym(user_id, key))
            if at is not None:
                users.add(user_id)
                older = and_(table.c.user_id == user_id, table.c.at <= at)
                deleted[table.name] += store.delete(table, older)
    for state in store.experiments():
        users |= {user_id for user_id in state.overrides if pseudonym(user_id, key) in until}
    for user_id in users:
        deleted["overrides"] += erase_overrides(store, user_id)
    for erasure in missing:
        data = {"deleted": deleted, "key": erasure.key, "again": True}
        store.append("erasure", erasure.subject, data, at=erasure.at)
    log.warning("%d users were erased again from a restored store: %s", len(users), deleted)
    return deleted
