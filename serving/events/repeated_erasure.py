"""Erases people again from an event store that was restored from a backup of before their erasure.

The store's own journal of erasures is as old as its rows then; the ledger beside it
(``recsys.erasure_ledger``) knows better.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import and_, select

from recsys.erasure_ledger import Erasure, append_to_ledger, read_ledger
from recsys.errors import InputError
from recsys.pseudonyms import KEY_VARIABLE, fingerprint, pseudonym, pseudonym_key
from serving.events.event_tables import EXPOSURES, FEEDBACK
from serving.events.store import EventStore
from serving.events.tester_overrides import erase_overrides

log = logging.getLogger(__name__)


def journal_erasures(store: EventStore) -> list[Erasure]:
    """What the store itself knows, oldest first."""
    return [
        Erasure(entry.subject, entry.at, entry.data.get("key", "")) for entry in store.journal(kind="erasure")
    ]


def repeat_erasures(store: EventStore, *, events: str | None = None) -> dict[str, int]:
    """Bring a store and its ledger to the same erasures; to be called at a server's start.

    Args:
        store: with its tables made.
        events: the address whose ledger and key count, where it is not the store's own.

    Returns:
        Rows deleted by table; {} where the store knows of every erasure.

    Raises:
        InputError: people were erased under another key, so that they cannot be found.
    """
    events = events or store.url
    journalled, recorded = journal_erasures(store), read_ledger(events)
    missing = [erasure for erasure in recorded if erasure not in journalled]
    deleted = erase_again(store, missing, pseudonym_key(events)) if missing else {}
    try:
        append_to_ledger(events, [erasure for erasure in journalled if erasure not in recorded])
    except OSError as error:
        log.error("erasures cannot be kept beside the event store: %s", error.strerror)
    return deleted


def erase_again(store: EventStore, missing: Sequence[Erasure], key: bytes) -> dict[str, int]:
    """Deletes what the people of ``missing`` gave up to their erasure, and the journal says so.

    Raises:
        InputError: as ``repeat_erasures``.
    """
    if any(erasure.key not in ("", fingerprint(key)) for erasure in missing):
        raise InputError(
            "the event store is older than erasures that were named with another key, and whom they concern "
            f"cannot be found: give the key file of then beside the store, or its {KEY_VARIABLE}"
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
    log.warning("%d people were erased again from a store that was restored: %s", len(users), deleted)
    return deleted
