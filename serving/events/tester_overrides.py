"""Removes a user's test overrides from every revision of every experiment, and from the audit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import select, update

from serving.domain import ExperimentState
from serving.events import rows
from serving.events.event_tables import EXPERIMENTS, JOURNAL
from serving.events.store import EventStore


def erase_overrides(store: EventStore, user_id: str) -> int:
    """Remove all overrides of a user; an experiment that has one now gets a new revision, for its replicas.

    Returns:
        Number of stored values that named the user.
    """
    for state in store.experiments():
        if user_id in state.overrides:
            store.save_experiment(
                _without(state, user_id), expected=state.revision, actor="erasure", reason="a user was erased"
            )
    erased = 0
    with store.transaction() as connection:
        for row in connection.execute(select(EXPERIMENTS)).all():
            state = rows.state_from(row.state)
            if user_id in state.overrides:
                text = rows.state_text(_without(state, user_id))
                same = (EXPERIMENTS.c.name == row.name) & (EXPERIMENTS.c.revision == row.revision)
                connection.execute(update(EXPERIMENTS).where(same).values(state=text))
                erased += 1
        audits = select(JOURNAL.c.seq, JOURNAL.c.data).where(JOURNAL.c.kind == "audit")
        for seq, data in connection.execute(audits).all():
            entry = json.loads(data)
            if _drop_override(entry, user_id):
                connection.execute(update(JOURNAL).where(JOURNAL.c.seq == seq).values(data=json.dumps(entry)))
                erased += 1
    return erased


def _without(state: ExperimentState, user_id: str) -> ExperimentState:
    return replace(state, overrides={user: arm for user, arm in state.overrides.items() if user != user_id})


def _drop_override(value: Any, user_id: str) -> bool:
    """Remove the user from every ``overrides`` mapping within ``value``; whether there was one."""
    if isinstance(value, list):
        return sum(_drop_override(item, user_id) for item in value) > 0
    if not isinstance(value, dict):
        return False
    overrides = value.get("overrides")
    dropped = isinstance(overrides, dict) and overrides.pop(user_id, None) is not None
    return sum(_drop_override(item, user_id) for item in value.values()) + dropped > 0
