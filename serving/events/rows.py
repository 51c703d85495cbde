"""Records as rows and back: the one place that knows how a dataclass lies in a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback, SlotRange
from serving.events.event_tables import EXPOSURES

FEEDBACK_FIELDS = tuple(Feedback.__dataclass_fields__)
EXPOSURE_COLUMNS = tuple(column.name for column in EXPOSURES.c if column.name != "seq")


@dataclass(frozen=True)
class JournalEntry:
    """Something that was done or seen. ``kind`` is its family ("audit", "rollout", "drift", "gap"),
    ``subject`` what it is about, ``at`` Unix seconds; ``seq`` is 0 until it is stored."""

    at: float
    kind: str
    subject: str
    data: JsonObject
    seq: int = 0


def exposure_row(exposure: Exposure, encoded: tuple[str, str] | None = None) -> dict[str, Any]:
    """The table's row; ``encoded`` are its items and predicted ratings where they are known as JSON."""
    row = dict(exposure.__dict__)
    row["items"], row["predicted"] = encoded or (
        json.dumps(exposure.items),
        json.dumps([round(stars, 4) for stars in exposure.predicted]),
    )
    row["propensities"] = json.dumps(exposure.propensities) if exposure.propensities else None
    return row


def known_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A spooled exposure of any version with exactly this version's columns, missing ones null."""
    return {name: row.get(name) for name in EXPOSURE_COLUMNS}


def exposure_from(row: Any) -> Exposure:
    return Exposure(
        exposure_id=row.exposure_id,
        at=row.at,
        user_id=row.user_id,
        experiment=row.experiment,
        arm=row.arm,
        revision=row.revision,
        release_id=row.release_id,
        items=tuple(json.loads(row.items)),
        predicted=tuple(json.loads(row.predicted)),
        source=row.source,
        milliseconds=row.milliseconds,
        shadow=row.shadow,
        propensities=tuple(json.loads(row.propensities)) if row.propensities else (),
    )


def feedback_from(row: Any) -> Feedback:
    return Feedback(**{name: getattr(row, name) for name in FEEDBACK_FIELDS})


def state_text(state: ExperimentState) -> str:
    return json.dumps(asdict(state))


def state_from(text: str) -> ExperimentState:
    fields = json.loads(text)
    fields["arms"] = tuple(ArmSpec(**arm) for arm in fields["arms"])
    fields["ranges"] = tuple(SlotRange(**piece) for piece in fields["ranges"])
    return ExperimentState(**fields)
