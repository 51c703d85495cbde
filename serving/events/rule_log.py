"""The rules on lists in the event store: a row for each revision, changed by compare-and-set like shares."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from recsys.types import JsonObject
from serving.catalogue.rule_set import RuleSet, rules_from, rules_json
from serving.events.event_tables import JOURNAL, RULES
from serving.events.rows import revision_history
from serving.events.store import EventStore


@dataclass(frozen=True)
class RuleRevision:
    """``rules`` as somebody stored them; revision 0 are those of the settings."""

    revision: int
    rules: RuleSet
    at: float = 0.0
    actor: str = "settings"
    reason: str = ""


class RuleConflict(RuntimeError):
    """Somebody else changed the rules since they were read."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the rules are at revision {revision} by now; read them again and retry")


def newest_rules(store: EventStore) -> RuleRevision | None:
    """None where the settings' rules were never changed."""
    history = stored_rules(store, count=1)
    return history[0] if history else None


def stored_rules(store: EventStore, *, count: int = 100) -> list[RuleRevision]:
    """Newest first."""
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
    """``rules`` become the revision after ``before``, or stay ``before`` where they are the same.

    Raises:
        RuleConflict: ``before`` is not the newest any more.
    """
    if rules == before.rules:
        newest = newest_rules(store)
        if newest is not None and newest.revision != before.revision:
            raise RuleConflict(newest.revision)
        return before
    saved = RuleRevision(before.revision + 1, rules, time.time(), actor, reason)
    entry = {"actor": actor, "reason": reason, "revision": saved.revision}
    entry |= {"before": rules_json(before.rules), "after": rules_json(rules)}
    store.require_tables()
    try:
        with store.engine.begin() as connection:
            store.lock_writers(connection)
            row = asdict(saved) | {"state": json.dumps(rules_json(rules))}
            del row["rules"]
            newest = connection.scalar(select(RULES.c.revision).order_by(RULES.c.revision.desc()).limit(1))
            if (newest or 0) != before.revision:
                raise RuleConflict(newest or 0)
            connection.execute(insert(RULES), row)
            journal = {"at": saved.at, "kind": "rules", "subject": "rules", "data": json.dumps(entry)}
            connection.execute(insert(JOURNAL), journal)
    except IntegrityError:
        newest_now = newest_rules(store)
        raise RuleConflict(newest_now.revision if newest_now else 0) from None
    return saved


def rules_history(store: EventStore, settings: RuleSet, *, count: int = 100) -> list[JsonObject]:
    """Newest first: when, by whom and why, the rules before (first those of ``settings``) and after."""
    revisions = stored_rules(store, count=count + 1)
    states = [rules_json(row.rules) for row in revisions]
    return revision_history(revisions, states, oldest=rules_json(settings), count=count)
