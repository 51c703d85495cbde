"""Conversion of records to table rows and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback, SlotRange
from serving.events.event_tables import EXPOSURES

FEEDBACK_FIELDS = tuple(Feedback.__dataclass_fields__)
VARYING = ("exposure_id", "at", "user_id", "milliseconds")  # between exposures of the same list
EXPOSURE_COLUMNS = tuple(column.name for column in EXPOSURES.c if column.name != "seq")


@dataclass(frozen=True)
class JournalEntry:
    """An entry of the journal. ``kind`` is "audit", "rollout", "drift", "gap" and the like, ``subject`` what
    it is about, ``at`` Unix seconds; ``seq`` is 0 until it is stored."""

    at: float
    kind: str
    subject: str
    data: JsonObject
    seq: int = 0


def exposure_row(exposure: Exposure) -> dict[str, Any]:
    """An exposure as a row of its table."""
    row = dict(exposure.__dict__)
    row["items"] = json.dumps(exposure.items)
    row["predicted"] = json.dumps([round(stars, 4) for stars in exposure.predicted])
    for name in ("propensities", "teams"):
        row[name] = json.dumps(row[name]) if row[name] else None
    return row


@dataclass(frozen=True)
class RepeatedExposure:
    """The columns that all exposures of one list in one revision share, and their JSON without braces: a list
    that is looked up a thousand times a second is encoded once."""

    columns: dict[str, Any]
    json: bytes

    @classmethod
    def of(cls, exposure: Exposure) -> RepeatedExposure:
        """The shared columns of ``exposure``."""
        columns = {name: value for name, value in exposure_row(exposure).items() if name not in VARYING}
        return cls(columns, json.dumps(columns)[1:-1].encode())

    def row(self, exposure: Exposure) -> dict[str, Any]:
        """As ``exposure_row``."""
        return {
            "exposure_id": exposure.exposure_id,
            "at": exposure.at,
            "user_id": exposure.user_id,
            "milliseconds": exposure.milliseconds,
            **self.columns,
        }

    def row_json(self, exposure: Exposure) -> bytes:
        """``row`` as JSON."""
        varying = (
            f'{{"exposure_id": "{exposure.exposure_id}", "at": {exposure.at!r}, '
            f'"user_id": {json.dumps(exposure.user_id)}, "milliseconds": {exposure.milliseconds!r}, '
        )
        return b"%s%s}" % (varying.encode(), self.json)


def is_exposure_row(row: dict[str, Any]) -> bool:
    """Whether a spooled row can be stored: every column has a value of its type, or null where allowed."""
    for column in EXPOSURES.c:
        value, kind = row.get(column.name), column.type.python_type
        if column.name == "seq" or (value is None and column.nullable):
            continue
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                return False
        elif type(value) is not kind or (isinstance(value, int) and abs(value) >= 2**31):
            return False
    return True


def current_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A spooled exposure of any version with this version's columns, missing ones null."""
    return {name: row.get(name) for name in EXPOSURE_COLUMNS}


def exposure_from(row: Any, *, scores: bool = True) -> Exposure:
    """The record of a row; without ``scores`` predictions and propensities are left out, in half the time."""
    return Exposure(
        exposure_id=row.exposure_id,
        at=row.at,
        user_id=row.user_id,
        experiment=row.experiment,
        arm=row.arm,
        revision=row.revision,
        release_id=row.release_id,
        items=tuple(json.loads(row.items)),
        predicted=tuple(json.loads(row.predicted)) if scores else (),
        source=row.source,
        milliseconds=row.milliseconds,
        shadow=row.shadow,
        propensities=tuple(json.loads(row.propensities)) if scores and row.propensities else (),
        teams=tuple(json.loads(row.teams)) if row.teams else (),
    )


def feedback_from(row: Any) -> Feedback:
    """The record of a row."""
    return Feedback(**{name: getattr(row, name) for name in FEEDBACK_FIELDS})


def entry_from(row: Any) -> JournalEntry:
    """The record of a journal row."""
    return JournalEntry(row.at, row.kind, row.subject, json.loads(row.data), row.seq)


def state_text(state: ExperimentState) -> str:
    """A state as JSON; newer fields at their defaults are left out, so that older programs can read it."""
    fields = asdict(state)
    if state.kind == "split":
        del fields["kind"]
    if state.metrics is None:
        del fields["metrics"]
    return json.dumps(fields)


def state_from(text: str) -> ExperimentState:
    """The state that ``state_text`` wrote."""
    fields = json.loads(text)
    fields["arms"] = tuple(ArmSpec(**arm) for arm in fields["arms"])
    fields["ranges"] = tuple(SlotRange(**piece) for piece in fields["ranges"])
    return ExperimentState(**fields)


def revision_history(
    rows: Sequence[Any], states: Sequence[JsonObject], *, oldest: JsonObject | None, count: int
) -> list[JsonObject]:
    """Changes, newest first: time, actor, reason, and the state before and after.

    Args:
        rows: revisions, newest first, with ``revision``, ``at``, ``actor`` and ``reason``.
        states: the state of each revision.
        oldest: the state before the last of ``rows``.
        count: largest number of changes.
    """
    return [
        {
            "revision": row.revision,
            "at": row.at,
            "actor": row.actor,
            "reason": row.reason,
            "before": before,
            "after": after,
        }
        for row, after, before in zip(rows, states, [*states, oldest][1:], strict=True)
    ][:count]
