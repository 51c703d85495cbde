"""Revisions of the rules on lists in the event store, changed by compare-and-set."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from recsys.types import JsonObject
from serving.catalogue.rule_set import RuleSet, rules_from, rules_json
from serving.events.event_tables import RULES
from serving.events.rows import JournalEntry, revision_history
from serving.events.store import EventStore, insert_entry


@dataclass(frozen=True)
class RuleRevision:
    """A revision of the rules; revision 0 is the settings' rules."""

    revision: int
    rules: RuleSet
    at: float = 0.0
    actor: str = "settings"
    reason: str = ""


class RuleConflict(RuntimeError):
    """The rules were changed since they were read."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the rules are at revision {revision} by now; read them again and retry")


def newest_rules(store: EventStore) -> RuleRevision | None:
    """The newest revision, None where the settings' rules were never changed."""
    history = stored_rules(store, count=1)
    return history[0] if history else None


def stored_rules(store: EventStore, *, count: int = 100) -> list[RuleRevision]:
    """Stored revisions, newest first."""
    query = select(RULES).order_by(RULES.c.revision.desc()).limit(count)
    with store.engine.connect() as connection:
        rows = connection.execute(query).all()
    return [
        RuleRevision(row.revision, rules_from(json.loads(row.state)), row.at, row.actor, row.reason)
        for row in rows
    ]


def save_rules(
    store: EventStore, rules: RuleSet, *, before: RuleRevision, actor: str, reason: str = ""
) -> RuleRevision:
    """Store ``rules`` as the revision after ``before``; ``before`` itself where they are the same.

    Raises:
        RuleConflict: ``before`` is no longer the newest revision.
    """
    if rules == before.rules:
        newest = newest_rules(store)
        if newest is not None and newest.revision != before.revision:
            raise RuleConflict(newest.revision)
        return before
    saved = RuleRevision(before.revision + 1, rules, time.time(), actor, reason)
    entry = {"actor": actor, "reason": reason, "revision": saved.revision}
    entry |= {"before": rules_json(before.rules), "after": rules_json(rules)}
    try:
        with store.transaction() as connection:
            row = asdict(saved) | {"state": json.dumps(rules_json(rules))}
            del row["rules"]
            newest = connection.scalar(select(RULES.c.revision).order_by(RULES.c.revision.desc()).limit(1))
            if (newest or 0) != before.revision:
                raise RuleConflict(newest or 0)
            connection.execute(insert(RULES), row)
            insert_entry(connection, JournalEntry(saved.at, "rules", "rules", entry))
    except IntegrityError:
        newest_now = newest_rules(store)
        raise RuleConflict(newest_now.revision if newest_now else 0) from None
    return saved


def rules_history(store: EventStore, settings: RuleSet, *, count: int = 100) -> list[JsonObject]:
    """Changes of the rules, newest first: time, actor, reason, and the rules before and after."""
    revisions = stored_rules(store, count=count + 1)
    states = [rules_json(row.rules) for row in revisions]
    return revision_history(revisions, states, oldest=rules_json(settings), count=count)
